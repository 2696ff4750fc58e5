/** Appc images that are not what was asked for, or not what they should be: each is refused, and nothing of it is kept. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { ErrorCode } from '../../src/errors.js';
import type { AppcImage } from '../../src/spec/image.js';
import { type AciOptions, type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { dir, file, hardlink, symlink } from '../../src/testing/tar-builder.js';
import { AppcLab, imageOf } from '../helpers/appc-store.js';

const NAME = 'example.com/a';
const LABELS = { version: '1' };
const OTHER_ID = `sha512-${'0'.repeat(128)}` as const;

function aci(more: Partial<AciOptions> = {}): BuiltAci {
  return buildAci({ name: NAME, labels: LABELS, files: { a: 'a' }, ...more });
}

interface Lie {
  readonly aci: BuiltAci;
  readonly code: ErrorCode;
  readonly message: RegExp;
  /** What is asked for, where it is not the name and version. */
  readonly asked?: Partial<AppcImage>;
}

const lies: Record<string, Lie> = {
  'has another id than the one that was asked for (Mesos took it)': {
    aci: aci(),
    asked: { id: OTHER_ID },
    code: 'LARDER_DIGEST_MISMATCH',
    message: /its id is sha512-\w+ instead of sha512-000/,
  },
  'has another name than the one that was asked for (Mesos took it)': {
    aci: aci({ manifest: { name: 'example.com/other' } }),
    code: 'LARDER_MANIFEST_INVALID',
    message: /its name is example.com\/other instead of example.com\/a/,
  },
  'has another version': {
    aci: aci({ manifest: { labels: [{ name: 'version', value: '2' }] } }),
    code: 'LARDER_MANIFEST_INVALID',
    message: /its label version is "2" instead of "1"/,
  },
  'is for another machine': {
    aci: aci({
      manifest: {
        labels: [...['version', 'os', 'arch'].map((name, i) => ({ name, value: ['1', 'linux', 's390x'][i] }))],
      },
    }),
    code: 'LARDER_MANIFEST_INVALID',
    message: /its label arch is "s390x"/,
  },
  'has no label that was asked for': {
    aci: aci(),
    asked: { labels: { ...LABELS, channel: 'beta' } },
    code: 'LARDER_MANIFEST_INVALID',
    message: /no label channel/,
  },
  'has two labels of one name': {
    aci: aci({ manifest: { labels: [1, 1].map((n) => ({ name: 'version', value: String(n) })) } }),
    code: 'LARDER_MANIFEST_INVALID',
    message: /labels/,
  },
  'is a pod': { aci: aci({ manifest: { acKind: 'PodManifest' } }), code: 'LARDER_MANIFEST_INVALID', message: /acKind/ },
  'has no manifest': {
    aci: aci({ archive: () => [dir('rootfs'), file('rootfs/a')] }),
    code: 'LARDER_LAYER_INVALID',
    message: /no file "manifest"/,
  },
  'has no rootfs': {
    aci: aci({ archive: (manifest) => [file('manifest', manifest)] }),
    code: 'LARDER_LAYER_INVALID',
    message: /no directory "rootfs"/,
  },
  'has more than manifest and rootfs': {
    aci: aci({ archive: (manifest) => [file('manifest', manifest), dir('rootfs'), file('more')] }),
    code: 'LARDER_LAYER_INVALID',
    message: /has only "manifest" and "rootfs"/,
  },
  'has a link for a manifest': {
    aci: aci({ archive: () => [symlink('manifest', '/etc/passwd'), dir('rootfs')] }),
    code: 'LARDER_LAYER_INVALID',
    message: /manifest must be a regular file/,
  },
  'has a link for a rootfs': {
    aci: aci({ archive: (manifest) => [file('manifest', manifest), symlink('rootfs', '/')] }),
    code: 'LARDER_LAYER_INVALID',
    message: /rootfs must be a directory/,
  },
  'links its manifest into its rootfs': {
    aci: aci({ archive: (manifest) => [file('manifest', manifest), dir('rootfs'), hardlink('rootfs/m', 'manifest')] }),
    code: 'LARDER_LAYER_INVALID',
    message: /outside the rootfs/,
  },
  'has a whiteout': {
    aci: aci({ entries: [file('rootfs/.wh.b')] }),
    code: 'LARDER_ENTRY_UNSUPPORTED',
    message: /Appc has no whiteouts/,
  },
  'has a manifest that is no JSON': {
    aci: aci({ archive: () => [file('manifest', '{'), dir('rootfs')] }),
    code: 'LARDER_MANIFEST_INVALID',
    message: /JSON/,
  },
  'is no archive at all': {
    aci: { ...aci(), bytes: Buffer.alloc(2048, 'not an archive ') },
    code: 'LARDER_LAYER_INVALID',
    message: /tar/,
  },
  'ends early': { aci: { ...aci(), bytes: aci().bytes.subarray(0, -20) }, code: 'LARDER_LAYER_CORRUPT', message: /./ },
  'depends on itself': {
    aci: aci({ dependencies: [{ imageName: NAME, labels: LABELS }] }),
    code: 'LARDER_DEPENDENCY_CYCLE',
    message: /example.com\/a → example.com\/a/,
  },
  'depends on what is not there': {
    aci: aci({ dependencies: [{ imageName: 'example.com/none' }] }),
    code: 'LARDER_IMAGE_NOT_FOUND',
    message: /appc:example.com\/none:latest/,
  },
  'has a directory where a dependency cannot be merged': {
    aci: aci({ archive: (manifest) => [file('manifest', manifest), file('rootfs/f/../../x')] }),
    code: 'LARDER_LAYER_INVALID',
    message: /\.\./,
  },
};

describe('an Appc image is refused that', () => {
  let lab: AppcLab;

  beforeEach(async () => {
    lab = await AppcLab.start();
  });
  afterEach(async () => {
    try {
      assert.deepEqual([...(await lab.assembly()).records()], []);
      await lab.prune();
      assert.deepEqual(await lab.findings(true), []);
    } finally {
      await lab[Symbol.asyncDispose]();
    }
  });

  for (const [what, lie] of Object.entries(lies)) {
    test(what, async () => {
      lab.route(lie.aci, lie.aci.bytes);
      await assert.rejects(lab.get(lie.aci, lie.asked), { code: lie.code, message: lie.message });
    });
  }

  test('depends on images that go in a circle (Mesos went round for ever)', async () => {
    const needs = (imageName: string): Partial<AciOptions> => ({ dependencies: [{ imageName, labels: LABELS }] });
    lab.publish(aci(needs('example.com/b')), aci({ name: 'example.com/b', ...needs('example.com/c') }));
    lab.publish(aci({ name: 'example.com/c', ...needs('example.com/b') }));
    const message = /example.com\/b → example.com\/c → example.com\/b/;
    await assert.rejects(lab.get(aci()), { code: 'LARDER_DEPENDENCY_CYCLE', message, hint: /itself/ });
  });

  test('depends on an image of another id', async () => {
    const base = aci({ name: 'example.com/base' });
    const top = aci({ dependencies: [{ imageName: base.name, imageID: OTHER_ID, labels: LABELS }] });
    lab.publish(base, top);
    await assert.rejects(lab.get(top), { code: 'LARDER_DIGEST_MISMATCH' });
  });

  test('depends on an image of another size than it says; that of the file and that of the tar are right (Mesos did not look)', async () => {
    const base = aci({ name: 'example.com/base' });
    const topOf = (size: number): BuiltAci => aci({ dependencies: [{ imageName: base.name, labels: LABELS, size }] });
    lab.publish(base, topOf(base.bytes.length + 1));
    await assert.rejects(lab.get(topOf(0)), { code: 'LARDER_SIZE_MISMATCH', message: /example.com\/a says/ });
    for (const size of [base.bytes.length, base.tar.length]) {
      lab.publish(topOf(size));
      await lab.get(topOf(size), { cached: false });
      await lab.prune();
    }
  });

  test('wants a file below what another image has as a file, though each alone is whole', async () => {
    const base = aci({ name: 'example.com/base', files: { x: 'file' } });
    const link = aci({ name: 'example.com/link', entries: [hardlink('rootfs/l', 'rootfs/none')] });
    const top = aci({ dependencies: [base, link].map(({ name }) => ({ imageName: name, labels: LABELS })) });
    lab.publish(base, link, top);
    await assert.rejects(lab.get(top), { code: 'LARDER_LAYER_INVALID', message: /none/ });
    await lab.prune();
  });

  test('depends on more than 512 images', async () => {
    const names = Array.from({ length: 600 }, (_, i) => `example.com/n${i}`);
    const needs = (of: readonly string[]): Partial<AciOptions> => ({
      dependencies: of.map((imageName) => ({ imageName })),
    });
    const [b, c, d] = ['b', 'c', 'd'].map((name, i) =>
      aci({ name: `example.com/${name}`, ...needs(names.slice(i * 200, i * 200 + 200)) }),
    );
    assert.ok(b && c && d);
    const top = aci({ dependencies: [b, c, d].map(({ name }) => ({ imageName: name, labels: LABELS })) });
    lab.publish(b, c, d, top);
    await assert.rejects(lab.get(top), { code: 'LARDER_LAYER_LIMIT', message: /more than 512 images/ });
    assert.equal(lab.server.requests.length, 4);
  });

  test('no caller can name: paths in a name, an id or a label never reach a disk or a server (Mesos joined the id into a path)', async () => {
    const wrong: Partial<AppcImage>[] = [
      { id: '../../../etc' },
      { id: `sha512-${'../'.repeat(42)}ab` },
      { name: '../../etc/passwd' },
      { name: 'example.com/../a' },
      { labels: { version: '..' } },
      { labels: { 'no label': 'x' } },
    ];
    for (const each of wrong) {
      await assert.rejects(lab.get({ type: 'appc', name: NAME, ...each }), { code: 'LARDER_REFERENCE_INVALID' });
    }
    assert.deepEqual(lab.server.requests, []);
    await assert.rejects((await lab.store()).get({ type: 'docker', name: 'x' }, 'copy'), {
      code: 'LARDER_IMAGE_TYPE_UNSUPPORTED',
    });
  });

  test('has whitelists that would take hours to compare along its dependencies', async () => {
    const paths = Array.from({ length: 100_000 }, (_, i) => `/p${i}`);
    const bases = Array.from({ length: 50 }, (_, i) => aci({ name: `example.com/base${i}` }));
    const top = aci({
      pathWhitelist: paths,
      dependencies: bases.map(({ name }) => ({ imageName: name, labels: LABELS })),
    });
    lab.publish(top, ...bases);
    await assert.rejects(lab.get(top), { code: 'LARDER_LAYER_LIMIT', message: /100000 paths over 50 dependencies/ });
  });

  test('fails at any point: no temporary file, no download and no note stays behind (Mesos left its directories)', async () => {
    const base = aci({ name: 'example.com/base' });
    const top = aci({ dependencies: [{ imageName: base.name, labels: LABELS }] });
    lab.publish(top);
    lab.route(
      base,
      (_, response) => void response.writeHead(200, { 'content-length': 1000 }).write('x', () => response.destroy()),
    );
    await assert.rejects(lab.get(top), { code: 'LARDER_REGISTRY_UNAVAILABLE' });
    lab.route(base, Buffer.from('x'));
    await assert.rejects(lab.get(top), { code: 'LARDER_LAYER_INVALID' });
    const { layout } = await lab.assembly();
    assert.deepEqual(
      [layout.staging, layout.ingests].map((path) => readdirSync(path)),
      [[], []],
    );
    assert.deepEqual(
      (await lab.findings()).filter(({ kind }) => kind === 'fault'),
      [],
    );
  });

  test('is larger than a layer may be', async () => {
    const big = aci({ files: { big: Buffer.alloc(100_000) } });
    lab.publish(big);
    const store = await (await lab.open({ max_layer_bytes: 50_000 })).appc();
    await assert.rejects(store.get(imageOf(big), 'copy'), { code: 'LARDER_LAYER_LIMIT' });
  });
});
