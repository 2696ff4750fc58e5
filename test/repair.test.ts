/** What is broken in a store, and what `repair` makes of it. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Finding } from '../src/check.js';
import { type ImageSummary, type Larder, openLarder, type Repair } from '../src/index.js';
import { ImageSource, sampleLayer } from '../src/testing/image-source.js';
import { dir, file, tar } from '../src/testing/tar-builder.js';
import { makeDirectory, needsRoot, removeDirectory } from './helpers/temporary.js';

describe('repair', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;

  beforeEach(async () => {
    source = await ImageSource.start();
    source.publish('a', [sampleLayer('base', 60_000), sampleLayer('a', 30_000)]);
    source.publish('b', [sampleLayer('base', 60_000), tar([dir('b'), file('b/file', 'b\n'.repeat(5000))])]);
    source.publish('other', [sampleLayer('other', 9000)]);
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
    for (const name of ['a', 'b', 'other']) await (await larder.pull(source.reference(name)))[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const at = (...path: readonly string[]): string => join(larder.root, ...path);

  async function repaired(...references: readonly string[]): Promise<Repair[]> {
    const all: Repair[] = [];
    for await (const one of larder.repair(references)) all.push(one);
    return all;
  }

  async function findings(): Promise<Finding[]> {
    const all: Finding[] = [];
    for await (const finding of larder.check({ deep: true })) all.push(finding);
    return all;
  }

  function imageOf(name: string): ImageSummary {
    const reference = `${source.reference(name)}:latest`;
    return larder.images().find((image) => image.reference === reference) ?? assert.fail(`no ${name}`);
  }

  function tarOf(name: string, layer: number): string {
    return at('layers', 'sha256', imageOf(name).layers[layer]?.diffId.slice(7) ?? '', 'layer.tar');
  }

  function change(path: string, edit: (bytes: Buffer) => void): void {
    const { mode } = statSync(path);
    const bytes = readFileSync(path);
    edit(bytes);
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    chmodSync(path, mode & 0o777);
  }

  function flip(path: string, at = statSync(path).size >> 1, bit = 0): void {
    change(path, (bytes) => bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << bit), at));
  }

  /** Everything of the store that can be damaged. */
  function files(): string[] {
    return ['layers', 'blobs', 'derived'].flatMap((folder) =>
      readdirSync(at(folder), { recursive: true, encoding: 'utf8' })
        .map((name) => at(folder, name))
        .filter((path) => lstatSync(path).isFile() && statSync(path).size > 0 && !path.endsWith('.lock'))
        .sort(),
    );
  }

  function marks(): Map<string, string> {
    return new Map(files().map((path) => [path, `${statSync(path).ino} ${statSync(path).mtimeMs}`]));
  }

  test('finds nothing to do in a store that is whole, and asks nobody', async () => {
    source.setFault(() => assert.fail('asked'));
    const before = marks();
    assert.deepEqual(await repaired(), []);
    assert.deepEqual(marks(), before);
  });

  test('asks for the recorded digest only: a tag that has moved stays what it is here', async () => {
    const before = imageOf('a');
    source.publish('a', [sampleLayer('new')]);
    flip(tarOf('a', 1));
    flip(at('blobs', 'sha256', before.config.slice(7)));
    const asked = source.requests().length;
    const report = await repaired();
    assert.deepEqual(
      report.map(({ what, outcome }) => `${what} ${outcome}`),
      ['layer repaired', 'document repaired'],
    );
    assert.deepEqual(imageOf('a'), before);
    assert.ok(
      !source
        .requests()
        .slice(asked)
        .some(({ wanted }) => wanted === 'latest'),
    );
    assert.equal(source.requests('layer').slice(-1)[0]?.wanted, before.layers[1]?.digest);
    assert.deepEqual(await findings(), []);
  });

  test('brings back what is missing or cut', async () => {
    rmSync(at('layers', 'sha256', imageOf('a').layers[1]?.diffId.slice(7) ?? ''), { recursive: true });
    truncateSync(tarOf('b', 1), 512);
    rmSync(at('blobs', 'sha256', imageOf('b').manifest.slice(7)));
    rmSync(at('derived'), { recursive: true });
    assert.ok((await repaired()).every(({ outcome }) => outcome === 'repaired'));
    assert.deepEqual(await findings(), []);
  });

  test('takes a shared layer from any image that has it', async () => {
    flip(tarOf('a', 0));
    await larder.remove(source.reference('a'));
    assert.deepEqual(
      (await repaired()).map(({ outcome }) => outcome),
      ['repaired'],
    );
    assert.deepEqual(await findings(), []);
  });

  test('of one image leaves the others alone', async () => {
    flip(tarOf('a', 1));
    flip(tarOf('other', 0));
    assert.equal((await repaired(source.reference('other'))).length, 1);
    assert.deepEqual(
      (await findings()).map(({ subject }) => subject),
      [imageOf('a').layers[1]?.diffId],
    );
  });

  test('says why it could not: the source is gone. What is broken is used no longer, and a pull heals it', async () => {
    const tarPath = tarOf('a', 1);
    flip(tarPath);
    source.setFault(() => ({ kind: 'status', status: 404 }));
    const report = await repaired();
    assert.deepEqual(
      report.map(({ what, subject, outcome }) => [what, subject, outcome]),
      [['layer', imageOf('a').layers[1]?.diffId, 'failed']],
    );
    assert.match(report[0]?.message ?? '', /\/a:latest: /);
    assert.ok(existsSync(tarPath), 'nothing was deleted');
    assert.ok((await findings()).some(({ kind, invariant }) => kind === 'fault' && invariant === 'I3'));
    source.setFault();
    await using image = await larder.pull(source.reference('a'), { cached: false });
    assert.equal((await image.fs.readFile('/a')).toString(), 'this is a\n');
    assert.deepEqual(await findings(), []);
  });

  test('one layer that cannot be had does not keep the others broken', async () => {
    flip(tarOf('b', 0));
    flip(tarOf('b', 1));
    await larder.remove(source.reference('a'));
    const lost = imageOf('b').layers[0]?.digest;
    source.setFault(({ wanted }) => (wanted === lost ? { kind: 'status', status: 404 } : undefined));
    const report = await repaired();
    assert.deepEqual(report.map(({ outcome }) => outcome).sort(), ['failed', 'repaired']);
  });

  test('makes a damaged database again, and what is broken beside it', async () => {
    await larder.close();
    larder = await openLarder({ root: larder.root });
    flip(tarOf('other', 0));
    change(at('metadata', 'larder.db'), (bytes) => {
      for (let page = 1; page * 4096 < bytes.length; page++) bytes.fill(0xa5, page * 4096, page * 4096 + 200);
    });
    rmSync(at('metadata', 'larder.db-wal'), { force: true });
    const report = await repaired();
    assert.equal(report[0]?.what, 'database');
    assert.throws(() => larder.images(), { code: 'LARDER_METADATA_CORRUPT' });
    await larder.close();
    larder = await openLarder({ root: larder.root });
    assert.equal(larder.images().length, 2, 'the image whose layer proved nothing is forgotten');
    await larder.prune({ exclude: [source.reference('a'), source.reference('b')] });
    assert.deepEqual(await findings(), []);
  });

  test('can be cancelled', async () => {
    const repair = async (): Promise<void> => {
      for await (const _ of larder.repair([], { signal: AbortSignal.abort() }));
    };
    await assert.rejects(repair, { code: 'LARDER_ABORTED' });
  });

  for (const backend of ['erofs', 'bind'] as const) {
    test(`gives a new container on ${backend} the right bytes, and a running one keeps its mount`, {
      skip: needsRoot,
    }, async () => {
      const reference = source.reference('b');
      const first = await larder.provision(reference, { id: 'c1', backend });
      change(tarOf('b', 1), (bytes) => bytes.write('WRONG', bytes.indexOf('b\nb\nb\n')));
      assert.equal((await repaired()).length, 1);
      assert.ok(existsSync(join(first.rootfs, 'b/file')));
      const second = await larder.provision(reference, { id: 'c2', backend });
      assert.equal(readFileSync(join(second.rootfs, 'b/file'), 'utf8'), 'b\n'.repeat(5000));
      for (const id of ['c1', 'c2']) await larder.destroy(id);
      assert.deepEqual(await findings(), []);
    });
  }
});
