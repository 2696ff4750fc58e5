/** `cached: false`: what it asks, what it fetches, and what it makes whole. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type Finding, type Larder, type LarderEvent, openLarder } from '../../src/index.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('an image that is here, asked for with cached: false', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;

  beforeEach(async () => {
    source = await ImageSource.start();
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
  });
  afterEach(async () => {
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  /** Method and kind of each request that `work` makes. */
  async function requestsOf(work: () => Promise<unknown>): Promise<string[]> {
    const before = source.registry.requests.length;
    await work();
    return source.registry.requests
      .slice(before)
      .map(({ method, url }) => `${method} ${/\/(manifests|blobs)\//.exec(url)?.[1] ?? url}`);
  }

  async function pull(name: string, cached: boolean, onEvent?: (event: LarderEvent) => void): Promise<string> {
    await using image = await larder.pull(source.reference(name), { cached, ...(onEvent && { onEvent }) });
    return image.record.digest;
  }

  async function findings(deep = false): Promise<readonly Finding[]> {
    const found: Finding[] = [];
    for await (const finding of larder.check({ deep })) found.push(finding);
    return found;
  }

  test('costs one HEAD while its tag has not moved', async () => {
    source.publish('a', [sampleLayer('one')]);
    const digest = await pull('a', true);
    const told: string[] = [];
    const asked = await requestsOf(async () => {
      assert.equal(await pull('a', false, ({ type }) => told.push(type)), digest);
    });
    assert.deepEqual(asked, ['HEAD manifests']);
    assert.deepEqual(told, ['resolve', 'resolved']);
    assert.deepEqual(await requestsOf(() => pull('a', true)), []);
  });

  test('of an image index costs one HEAD, too', async () => {
    source.publishIndex(
      'a',
      ['linux/amd64', 'linux/arm64'].map((platform) =>
        buildImage({ platform, layers: [{ tar: sampleLayer(platform) }] }),
      ),
    );
    await pull('a', true);
    assert.deepEqual(await requestsOf(() => pull('a', false)), ['HEAD manifests']);
  });

  test('is fetched anew when its tag has moved, but for the layers that are here', async () => {
    source.publish('a', [sampleLayer('base'), sampleLayer('old')]);
    await pull('a', true);
    const moved = source.publish('a', [sampleLayer('base'), sampleLayer('new')]);
    const asked = await requestsOf(async () => assert.equal(await pull('a', false), moved.digest));
    // The manifest, the config and the one new layer.
    assert.deepEqual(asked, ['HEAD manifests', 'GET manifests', 'GET blobs', 'GET blobs']);
  });

  test('is asked for by GET where the registry does not know HEAD', async () => {
    source.publish('a', [sampleLayer('one')]);
    await pull('a', true);
    source.registry.setFault(({ method }) => (method === 'HEAD' ? { kind: 'status', status: 405 } : undefined));
    assert.deepEqual(await requestsOf(() => pull('a', false)), ['HEAD manifests', 'GET manifests']);
  });

  test('stays as it is when the registry does not answer, and that is told', async () => {
    source.publish('a', [sampleLayer('one')]);
    await pull('a', true);
    source.registry.setFault(() => ({ kind: 'status', status: 403 }));
    await assert.rejects(pull('a', false), { code: 'LARDER_REGISTRY_DENIED' });
    source.registry.setFault(undefined);
    await pull('a', true);
  });

  test('is noted each time: until when the tag meant the same', async () => {
    source.publish('a', [sampleLayer('one')]);
    await pull('a', true);
    await pull('a', false);
    const [entry, ...others] = await larder.history(source.reference('a'));
    assert.deepEqual(others, []);
    assert.equal(entry?.state, 'current');
  });

  describe('when a layer is damaged', () => {
    function damage(diffId: string): void {
      const tar = join(larder.root, 'layers', 'sha256', diffId.slice(7), 'layer.tar');
      const bytes = readFileSync(tar);
      bytes[600] = (bytes[600] ?? 0) ^ 1;
      chmodSync(tar, 0o600);
      writeFileSync(tar, bytes);
      chmodSync(tar, 0o400);
    }

    test('and check has found that, is made whole by fetching that layer alone', async () => {
      const { layers } = source.publish('a', [sampleLayer('one'), sampleLayer('two')]);
      await pull('a', true);
      damage(layers[0]?.diffId ?? '');
      assert.match((await findings(true)).map(({ message }) => message).join(), /its tar hashes to/);
      const warnings: string[] = [];
      const asked = await requestsOf(() =>
        pull('a', false, (event) => event.type === 'warning' && warnings.push(event.message)),
      );
      assert.deepEqual(asked, ['GET manifests', 'GET blobs']);
      assert.match(warnings.join(), /is damaged: it is fetched again/);
      assert.deepEqual(await findings(true), []);
      assert.deepEqual(await requestsOf(() => pull('a', false)), ['HEAD manifests']);
    });

    test('and check has found that, is never given to anybody as it is, not with cached: true either', async () => {
      const { layers } = source.publish('a', [sampleLayer('one')]);
      await pull('a', true);
      damage(layers[0]?.diffId ?? '');
      await findings(true);
      await using image = await larder.pull(source.reference('a'));
      assert.equal((await image.fs.readFile('/one')).toString(), 'this is one\n');
      assert.deepEqual(await findings(true), []);
    });

    test('in an image that shares it, is fetched for that one', async () => {
      const { layers } = source.publish('a', [sampleLayer('shared')]);
      await pull('a', true);
      damage(layers[0]?.diffId ?? '');
      await findings(true);
      source.publish('b', [sampleLayer('shared'), sampleLayer('own')]);
      await pull('b', true);
      assert.deepEqual(await findings(true), []);
    });

    test('and repaired before anybody looks, is not fetched again', async () => {
      const { layers } = source.publish('a', [sampleLayer('one')]);
      await pull('a', true);
      damage(layers[0]?.diffId ?? '');
      await findings(true);
      damage(layers[0]?.diffId ?? '');
      assert.deepEqual(await requestsOf(() => pull('a', false)), ['HEAD manifests']);
      assert.deepEqual(await findings(true), []);
    });
  });
});
