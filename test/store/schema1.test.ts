/** Images that a registry has as Docker's schema 1: from the first request to the root filesystem, and what is refused. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type Larder, type LarderEvent, openLarder, type PulledImage, type Repair } from '../../src/index.js';
import { digestOf, hexOf } from '../../src/spec/digest.js';
import { SCHEMA_1_LAYER } from '../../src/spec/media-types.js';
import { type FakeRegistry, type RegistryFault, startRegistry } from '../../src/testing/fake-registry.js';
import { buildImage, type LayerSource } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import {
  type BuiltSchema1Image,
  buildSchema1Image,
  EMPTY_LAYER,
  type Schema1Options,
  signSchema1,
} from '../../src/testing/schema1-builder.js';
import { file, tar, whiteout } from '../../src/testing/tar-builder.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

const NAME = 'team/old';
const BASE: LayerSource = { tar: sampleLayer('base', 20_000) };
const MIDDLE: LayerSource = { tar: tar([file('middle', 'middle\n'), whiteout('base.noise')]) };
const TOP: LayerSource = { tar: sampleLayer('top', 5000) };
const LAYERS = [BASE, 'empty', MIDDLE, 'empty', TOP] as const;

describe('an image that the registry has as schema 1', () => {
  let registry: FakeRegistry;
  let directory: string;
  let larder: Larder;

  beforeEach(async () => {
    registry = await startRegistry();
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
  });
  afterEach(async () => {
    try {
      const faults = (await findingsOf(larder)).filter(({ kind }) => kind === 'fault');
      assert.deepEqual(faults, []);
      await larder.prune({ all: true });
      assert.deepEqual(await findingsOf(larder), []);
    } finally {
      await larder.close();
      await registry.close();
      removeDirectory(directory);
    }
  });

  const reference = (name = NAME): string => `${registry.host}/${name}`;
  const at = (...path: readonly string[]): string => join(larder.root, ...path);

  function publish(options: Partial<Schema1Options> = {}, name = NAME): BuiltSchema1Image {
    const image = buildSchema1Image({ layers: LAYERS, ...options });
    registry.addImage({ name, ...image });
    return image;
  }

  /** What was asked for, as `METHOD digest`, of blobs only. */
  function blobRequests(from = 0): string[] {
    return registry.requests
      .slice(from)
      .filter(({ url }) => url.includes('/blobs/'))
      .map(({ method, url }) => `${method} ${url.split('/').at(-1)}`)
      .sort();
  }

  async function pull(wanted = reference(), options: Parameters<Larder['pull']>[1] = {}): Promise<PulledImage> {
    const image = await larder.pull(wanted, options);
    // What is asserted of it is data, and the store must be whole without its lease.
    await image[Symbol.asyncDispose]();
    return image;
  }

  function onBlob(fault: RegistryFault, method?: string): void {
    registry.setFault((request) =>
      request.url.includes('/blobs/') && (method === undefined || request.method === method) ? fault : undefined,
    );
  }

  for (const [form, options] of Object.entries({
    'signed, by tag': {},
    'not signed, by tag': { signed: false },
  })) {
    test(`${form}: its layers are there in order, and its config is what Docker makes of it`, async () => {
      const built = publish({ ...options, config: { Cmd: ['/bin/top'], Env: ['A=b'], WorkingDir: '/w' } });
      const { record, info, runtime } = await pull();
      const diffIds = built.layers.map(({ diffId }) => diffId);
      assert.equal(record.digest, built.digest);
      assert.deepEqual(
        record.layers.map(({ diffId, digest, size, mediaType }) => ({ diffId, digest, size, mediaType })),
        built.layers.map(({ diffId, digest, blob }) => ({
          ...{ diffId, digest, size: blob.length },
          mediaType: SCHEMA_1_LAYER,
        })),
      );
      assert.deepEqual(
        info.layers,
        diffIds.map((diffId) => at('layers', 'sha256', hexOf(diffId))),
      );
      assert.deepEqual(JSON.parse(readFileSync(info.config ?? assert.fail(), 'utf8')), {
        created: '1970-01-01T00:00:00Z',
        container_config: { Cmd: ['/bin/sh', '-c', 'step 5'] },
        docker_version: '1.9.1',
        os: 'linux',
        architecture: built.platform.split('/')[1],
        config: { Cmd: ['/bin/top'], Env: ['A=b'], WorkingDir: '/w' },
        rootfs: { type: 'layers', diff_ids: diffIds },
        history: [1, 2, 3, 4, 5].map((step) => ({
          created: '1970-01-01T00:00:00Z',
          created_by: `/bin/sh -c step ${step}`,
          ...(step === 2 || step === 4 ? { empty_layer: true } : {}),
        })),
      });
      assert.deepEqual(
        { cmd: runtime?.cmd, env: runtime?.env, cwd: runtime?.cwd },
        { cmd: ['/bin/top'], env: ['A=b'], cwd: '/w' },
      );
    });
  }

  test('its dockerManifest is the v1 image of its topmost step', async () => {
    const built = publish({ config: { Cmd: ['/bin/top'], Labels: { a: 'b' } } });
    const { dockerManifest } = (await pull()).info;
    const { id, parent, ...rest } = JSON.parse(built.v1) as Record<string, unknown>;
    assert.deepEqual(dockerManifest, { id, parent, ...rest });
    assert.match(String(id), /^[0-9a-f]{64}$/);
  });

  test('is found by its digest, which is that of what was signed', async () => {
    const { digest, manifest } = publish();
    assert.notEqual(digest, digestOf(manifest));
    const { record } = await pull(`${reference()}@${digest}`);
    assert.equal(record.manifest, digest);
    assert.equal(digestOf(readFileSync(at('blobs', 'sha256', hexOf(digest)))), digest);
  });

  test('signed anew at each request, as registries do, is the same image', async () => {
    const { payload, mediaType, digest } = publish();
    const first = await pull();
    registry.addManifest(NAME, 'latest', signSchema1(payload), mediaType, digest);
    assert.equal((await pull(reference(), { cached: false })).imageId, first.imageId);
  });

  for (const type of ['application/json', 'application/json; charset=utf-8', '']) {
    test(`is known without its media type, where it is served as ${type || 'nothing'}`, async () => {
      const built = publish();
      registry.setFault(({ url }) =>
        url.includes('/manifests/') ? { kind: 'headers', headers: { 'content-type': type } } : undefined,
      );
      assert.equal((await pull()).record.digest, built.digest);
    });
  }

  test('asks once for each layer’s size and once for its bytes, never for what is empty', async () => {
    const built = publish();
    const events: LarderEvent[] = [];
    await pull(reference(), { onEvent: (event) => events.push(event) });
    const asked = built.layers.flatMap(({ digest }) => [`GET ${digest}`, `HEAD ${digest}`]);
    assert.deepEqual(blobRequests(), asked.sort());
    assert.deepEqual(
      events.filter(({ type }) => type === 'plan'),
      [
        {
          type: 'plan',
          layers: built.layers.map(({ digest, blob }) => ({ layer: digest, size: blob.length, state: 'fetch' })),
        },
      ],
    );
    assert.equal(events.filter(({ type }) => type === 'layer-done').length, built.layers.length);
  });

  test('is not fetched a second time, nor what another image of its kind has', async () => {
    publish();
    const first = await pull();
    const before = registry.requests.length;
    assert.deepEqual(await (await pull(reference(), { cached: false })).record.layers, first.record.layers);
    assert.deepEqual(blobRequests(before), []);
    const other = buildSchema1Image({ layers: [BASE, MIDDLE, { tar: sampleLayer('new') }] });
    registry.addImage({ name: NAME, tag: 'other', ...other });
    await pull(`${reference()}:other`);
    const { digest } = other.layers[2] ?? assert.fail();
    assert.deepEqual(blobRequests(before), [`GET ${digest}`, `HEAD ${digest}`]);
  });

  test('a layer that is lost is fetched again', async () => {
    publish();
    const { info } = await pull();
    rmSync(info.layers[1] ?? assert.fail(), { recursive: true });
    await pull(reference(), { cached: false });
    assert.ok(statSync(join(info.layers[1] ?? '', 'layer.tar')).size > 0);
  });

  test('with Docker’s empty layer as a layer, as before 1.10, has it once', async () => {
    const empty: LayerSource = { tar: Buffer.alloc(1024), blob: EMPTY_LAYER };
    const built = publish({ layers: [BASE, empty, MIDDLE, empty] });
    const { record, info } = await pull();
    const [base, emptyId, middle] = built.layers.map(({ diffId }) => diffId);
    assert.deepEqual(
      record.layers.map(({ diffId }) => diffId),
      [base, middle, emptyId],
    );
    const config = JSON.parse(readFileSync(info.config ?? '', 'utf8')) as { rootfs: { diff_ids: string[] } };
    assert.deepEqual(config.rootfs.diff_ids, [base, emptyId, middle, emptyId]);
  });

  for (const compression of ['none', 'zstd'] as const) {
    test(`a layer says by its first bytes that its compression is ${compression}`, async () => {
      publish({ layers: [{ ...BASE, compression }] });
      await using image = await larder.pull(reference());
      assert.equal((await image.fs.readFile('/base')).toString(), 'this is base\n');
    });
  }

  test('becomes a root filesystem, is listed, and is gone when it is pruned', { skip: needsRoot }, async () => {
    publish();
    for (const backend of ['copy', 'overlay'] as const) {
      const { rootfs } = await larder.provision(reference(), { id: backend, backend });
      assert.equal(readFileSync(join(rootfs, 'middle'), 'utf8'), 'middle\n');
      assert.throws(() => statSync(join(rootfs, 'base.noise')), { code: 'ENOENT' });
      assert.equal(await larder.destroy(backend), true);
    }
    assert.deepEqual(
      larder.images().map((image) => image.reference),
      [`${reference()}:latest`],
    );
  });

  /** Prunes everything that nothing holds, when the pull of `name` waits for its topmost layer alone. */
  async function pullDuringPrune(name: string, top: string, others: number): Promise<void> {
    let onWaiting = (): void => {};
    const waiting = new Promise<void>((resolve) => {
      onWaiting = resolve;
    });
    registry.setFault(({ method, url, nth }) =>
      method === 'GET' && url.endsWith(top) && nth === 0 ? { kind: 'delay', ms: 2000 } : undefined,
    );
    await using other = await openLarder({ root: larder.root });
    let done = 0;
    const pulling = larder.pull(reference(name), {
      onEvent: ({ type }) => {
        if (type === 'layer-done') done++;
        if ((type === 'layer-done' || type === 'plan') && done === others) onWaiting();
      },
    });
    await waiting;
    await other.prune({ all: true });
    assert.equal(done, others, 'the last layer was not there yet');
    await using image = await pulling;
    assert.equal((await image.fs.readFile('/base')).toString(), 'this is base\n');
  }

  test('a prune while it is pulled takes nothing of it', async () => {
    const built = publish();
    await pullDuringPrune(NAME, built.layers.at(-1)?.digest ?? assert.fail(), 2);
  });

  test('a prune while it is pulled leaves what it shares with an image that is forgotten', async () => {
    publish({ layers: [BASE] });
    await pull();
    const built = publish({ layers: [BASE, TOP] }, 'team/other');
    await pullDuringPrune('team/other', built.layers[1]?.digest ?? assert.fail(), 0);
    assert.equal(larder.images().length, 1);
  });

  test('what a manifest and a config only claim of its layer is not believed', async () => {
    const built = publish({ layers: [BASE] });
    const victim = built.layers[0] ?? assert.fail();
    const evil = tar([file('base', 'evil\n')]);
    const [first, second] = [{ tar: evil }, { tar: evil, blob: victim.blob }];
    registry.addImage({ name: 'evil', tag: '1', ...buildImage({ layers: [first] }) });
    await pull(`${reference('evil')}:1`);
    // Its layer is here, so nobody looks whether it has that digest.
    registry.addImage({ name: 'evil', tag: '2', ...buildImage({ layers: [second], docker: true }) });
    await pull(`${reference('evil')}:2`);
    const image = await pull();
    assert.equal(image.record.layers[0]?.diffId, victim.diffId);
  });

  async function repaired(): Promise<string[]> {
    const all: Repair[] = [];
    for await (const one of larder.repair()) all.push(one);
    return all.map(({ what, outcome }) => `${what} ${outcome}`);
  }

  test('is repaired: a damaged layer is fetched again, damaged documents are made again', async () => {
    publish();
    const { record, info } = await pull();
    const paths = [
      join(info.layers[0] ?? '', 'layer.tar'),
      ...[record.config, record.manifest, ...(record.extraBlobs ?? [])].map((digest) =>
        at('blobs', 'sha256', hexOf(digest)),
      ),
    ];
    const before = paths.map((path) => readFileSync(path));
    for (const path of paths) {
      const bytes = readFileSync(path);
      bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
      chmodSync(path, 0o600);
      writeFileSync(path, bytes);
    }
    assert.deepEqual(await repaired(), ['layer repaired', ...Array.from({ length: 3 }, () => 'document repaired')]);
    assert.deepEqual(
      paths.map((path) => readFileSync(path)),
      before,
    );
  });

  describe('is refused', () => {
    async function refuses(code: string, message: RegExp, wanted = reference()): Promise<void> {
      await assert.rejects(pull(wanted), { code, message });
      assert.deepEqual(larder.images(), []);
    }

    test('by a digest that is not its payload’s, though it is that of all that was served', async () => {
      const { manifest, mediaType } = publish();
      const digest = registry.addManifest(NAME, undefined, manifest, mediaType);
      await refuses('LARDER_DIGEST_MISMATCH', /^fetch the manifest: .* hash to/, `${reference()}@${digest}`);
    });

    test('when another document is served for its digest', async () => {
      const { digest } = publish();
      const other = buildSchema1Image({ layers: [TOP] });
      registry.addManifest(NAME, undefined, other.manifest, other.mediaType, digest);
      await refuses('LARDER_DIGEST_MISMATCH', /^fetch the manifest: .* hash to/, `${reference()}@${digest}`);
    });

    test('when the type of schema 2 is served with it', async () => {
      publish();
      const headers = { 'content-type': 'application/vnd.docker.distribution.manifest.v2+json' };
      registry.setFault(() => ({ kind: 'headers', headers }));
      await refuses('LARDER_MEDIA_TYPE_UNSUPPORTED', /schema 1/);
    });

    test('when it has the members of schema 2, too', async () => {
      publish({ edit: (document) => ({ ...document, config: {}, layers: [] }) });
      await refuses('LARDER_MANIFEST_INVALID', /more than one kind of document/);
    });

    test('for another machine, before a layer is fetched', async () => {
      publish({ platform: 'linux/s390x' });
      await refuses('LARDER_PLATFORM_NOT_FOUND', /linux\/s390x/);
      assert.deepEqual(blobRequests(), []);
    });

    test('for another machine that only the manifest names', async () => {
      const bare = { id: 'a'.repeat(64) };
      publish({
        layers: [BASE],
        edit: (document) => ({
          ...document,
          architecture: 's390x',
          history: [{ v1Compatibility: JSON.stringify(bare) }],
        }),
      });
      await refuses('LARDER_PLATFORM_NOT_FOUND', /linux\/s390x/);
    });

    test('when its config makes no sense, before a layer is fetched', async () => {
      publish({ config: { Env: 'PATH=/bin', Labels: [] } });
      await refuses('LARDER_CONFIG_INVALID', /Labels/);
      assert.deepEqual(blobRequests(), []);
    });

    test('when a layer’s bytes are not its digest’s', async () => {
      publish();
      onBlob({ kind: 'wrong-bytes' });
      await refuses('LARDER_DIGEST_MISMATCH', /hash to/);
    });

    test('when a layer is longer than it was said to be', async () => {
      publish();
      onBlob({ kind: 'longer' }, 'GET');
      await refuses('LARDER_SIZE_MISMATCH', /sends more/);
    });

    test('when the registry does not say how long a layer is', async () => {
      publish({ layers: [BASE] });
      onBlob({ kind: 'status', status: 200 }, 'HEAD');
      await refuses('LARDER_SIZE_MISMATCH', /does not say how long it is/);
    });

    test('when a layer is no tar', async () => {
      publish({ layers: [{ tar: Buffer.from('#!/bin/sh\n'.repeat(100)) }] });
      await refuses('LARDER_LAYER_INVALID', /./);
    });

    test('when a layer is missing', async () => {
      const { manifest, mediaType, digest } = buildSchema1Image({ layers: LAYERS });
      registry.addManifest(NAME, 'latest', manifest, mediaType, digest);
      await refuses('LARDER_BLOB_NOT_FOUND', /fetch a blob/);
    });
  });
});
