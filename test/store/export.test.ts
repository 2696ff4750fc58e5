/** Exports, read back by larder itself: the same image ID and files, the same bytes each time, and nothing half-written. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import { type Larder, openLarder } from '../../src/index.js';
import { parseExportTarget } from '../../src/store/archives/export-target.js';
import { fileHeader, paddingOf } from '../../src/store/archives/tar-header.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('an exported image', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
    reference = source.reference('demo:1');
    source.publish('demo', [sampleLayer('one'), { tar: sampleLayer('two', 70_000), compression: 'zstd' }], {
      tag: '1',
    });
  });
  after(async () => {
    assert.deepEqual(await findingsOf(larder), []);
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  for (const transport of ['docker-archive', 'oci-archive'] as const) {
    test(`of ${transport} is pulled again as the same image`, async () => {
      const path = join(directory, `${transport}.tar`);
      const report = await larder.export(reference, `${transport}:${path}`);
      assert.equal(report.bytes, readFileSync(path).length);
      assert.equal(report.rewritten, true);
      await using original = await larder.open(reference);
      await using other = await openLarder({ root: join(directory, `store-${transport}`) });
      for (const name of report.names) {
        await using again = await other.pull(`${transport}:${path}:${name}`);
        assert.equal(again.imageId, original.imageId);
        assert.equal((await again.fs.readFile('/two')).toString(), 'this is two\n');
      }
      assert.ok(report.names.length > 0);
    });

    test(`of ${transport} has the same bytes each time, as a file and as a stream`, async () => {
      const path = join(directory, 'same.tar');
      await larder.export(reference, `${transport}:${path}`);
      const first = readFileSync(path);
      await larder.export(reference, `${transport}:${path}`);
      assert.ok(readFileSync(path).equals(first));
      const pieces: Uint8Array[] = [];
      for await (const piece of larder.exportStream(reference, `${transport}:-`)) pieces.push(piece);
      assert.ok(Buffer.concat(pieces).equals(first));
    });
  }

  test('is called as the target says', async () => {
    const path = join(directory, 'named.tar');
    const docker = await larder.export(reference, `docker-archive:${path}:debian`);
    assert.deepEqual(docker.names, ['debian:latest']);
    const oci = await larder.export(reference, `oci-archive:${path}:any name`);
    assert.deepEqual(oci.names, ['any name']);
    await using again = await larder.pull(`oci-archive:${path}:any name`);
    await using original = await larder.open(reference);
    assert.equal(again.imageId, original.imageId);
  });

  test('that is known by its digest alone has no name', async () => {
    await using image = await larder.open(reference);
    const byDigest = `${source.reference('demo')}@${image.record.digest}`;
    const report = await larder.export(byDigest, `docker-archive:${join(directory, 'nameless.tar')}`);
    assert.deepEqual(report.names, []);
    await using again = await larder.pull(`docker-archive:${join(directory, 'nameless.tar')}`);
    assert.equal(again.imageId, image.imageId);
  });

  test('with one layer twice has it once, and keeps its ID', async () => {
    const [once, twice] = [sampleLayer('once'), sampleLayer('twice')];
    source.publish('twice', [twice, once, twice]);
    await using image = await larder.pull(source.reference('twice'));
    for (const transport of ['docker-archive', 'oci-archive']) {
      const path = join(directory, 'twice.tar');
      await larder.export(source.reference('twice'), `${transport}:${path}`);
      assert.ok(readFileSync(path).length < 3 * once.length + 10 * 1024);
      await using again = await larder.pull(`${transport}:${path}`);
      assert.equal(again.imageId, image.imageId);
    }
  });

  test('whose compressed layers were kept has them, under the manifest that was pulled', async () => {
    const root = join(directory, 'keeping');
    await using keeping = await openLarder({ root });
    const built = source.publish('kept', [sampleLayer('kept', 5000)]);
    await using pulled = await keeping.pull(source.reference('kept'));
    const [layer] = built.layers;
    assert.ok(layer);
    await using assembly = await openAssembly(root);
    await assembly.it.content.put(layer.blob, layer.digest);
    const path = join(directory, 'kept.tar');
    const report = await keeping.export(source.reference('kept'), `oci-archive:${path}`);
    assert.equal(report.rewritten, false);
    assert.equal(report.manifest, built.digest);
    await using again = await larder.pull(`oci-archive:${path}`);
    assert.equal(again.record.manifest, pulled.record.manifest);
    assert.deepEqual(again.record.layers[0]?.digest, layer.digest);
  });

  test('that cannot be written leaves what was there, and nothing else', async () => {
    const place = join(directory, 'place');
    mkdirSync(place);
    const path = join(place, 'there.tar');
    writeFileSync(path, 'before');
    const stop = new AbortController();
    const failing = larder.export(reference, `oci-archive:${path}`, {
      signal: stop.signal,
      onEvent: ({ type }) => type === 'progress' && stop.abort(),
    });
    await assert.rejects(failing, { code: 'LARDER_ABORTED' });
    assert.deepEqual(readdirSync(place), ['there.tar']);
    assert.equal(readFileSync(path, 'utf8'), 'before');
    await assert.rejects(larder.export(reference, `oci-archive:${place}`), { code: 'LARDER_REQUEST_INVALID' });
    await assert.rejects(larder.export(reference, 'oci-archive:/dev/null'), { code: 'LARDER_REQUEST_INVALID' });
    await assert.rejects(larder.export(reference, `oci-archive:${place}/gone/x.tar`), {
      code: 'LARDER_PATH_NOT_FOUND',
    });
  });
});

interface Closing extends AsyncDisposable {
  readonly it: Assembly;
}

async function openAssembly(root: string): Promise<Closing> {
  const it = await Assembly.open(configOf({ root }));
  return { it, [Symbol.asyncDispose]: () => it.close() };
}

test('targets of an export are archives: a file, or standard output', () => {
  assert.deepEqual(parseExportTarget('docker-archive:a.tar', '/w'), { transport: 'docker-archive', path: '/w/a.tar' });
  assert.equal(parseExportTarget('docker-archive:-', '/w').path, undefined);
  assert.equal(parseExportTarget('oci-archive:/dev/stdout', '/w').path, undefined);
  assert.deepEqual(parseExportTarget('oci-archive:-:n', '/w'), {
    transport: 'oci-archive',
    path: undefined,
    inside: { kind: 'name', name: 'n' },
  });
  assert.equal(parseExportTarget('oci-archive:-x', '/w').path, '/w/-x');
  for (const target of ['a.tar', 'oci:/a', 'docker://x/y', 'alpine']) {
    assert.throws(() => parseExportTarget(target, '/w'), { code: 'LARDER_REFERENCE_INVALID' }, target);
  }
  assert.throws(() => parseExportTarget('docker-archive:/a:@1', '/w'), { code: 'LARDER_REFERENCE_INVALID' });
});

test('a member of more than eight gibibytes has its size in the header', () => {
  const size = 10 * 2 ** 30 + 5;
  const reader = new TarReader({ entry: () => {} }, DEFAULT_LAYER_LIMITS);
  reader.write(fileHeader(`${'a'.repeat(64)}.tar`, size));
  assert.equal(reader.skippable, size);
  assert.equal(paddingOf(size), 507);
  assert.equal(paddingOf(512), 0);
});
