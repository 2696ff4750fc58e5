import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import type { LayerResult } from '../../src/layers/layer-job.js';
import { type DiffId, digestOf, hexOf } from '../../src/spec/digest.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { diffIdOf, Lab, PLAIN } from './lab.js';

const TAR = tar([dir('etc'), file('etc/hostname', 'larder\n'), file('data', Buffer.alloc(100_000, 'x'))]);
const DIFF_ID = diffIdOf(TAR);

describe('LayerStore', () => {
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open();
  });

  afterEach(async () => {
    assert.deepEqual(await lab.leftovers(), []);
    await lab[Symbol.asyncDispose]();
  });

  /** Stages TAR in a staging that the caller disposes. */
  async function staged(outDir: string, bytes = TAR): Promise<LayerResult> {
    const path = join(lab.layout.root, 'source.tar');
    writeFileSync(path, bytes);
    const { ingestData: _, ...job } = lab.job(bytes, PLAIN, outDir);
    return lab.write({ ...job, source: { kind: 'file', path, offset: 0 } });
  }

  /** Changes a file that is 0400. */
  function damage(path: string, change: (bytes: Buffer) => Buffer): void {
    const bytes = change(readFileSync(path));
    rmSync(path);
    writeFileSync(path, bytes);
  }

  const flip = (bytes: Buffer): Buffer => {
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };

  it('adopts a staged layer: the tar alone under its DiffID, the index under derived, a record', async () => {
    await lab.add(TAR);
    assert.deepEqual(await readdir(lab.layout.layer(DIFF_ID)), ['layer.tar']);
    assert.ok(readFileSync(lab.layout.layerTar(DIFF_ID)).equals(TAR));
    assert.equal(statSync(lab.layout.layerTar(DIFF_ID)).mode & 0o777, 0o400);
    assert.equal(await lab.layers.has(DIFF_ID), true);
    assert.equal((await lab.layers.index(DIFF_ID)).count, 3);
    const record = lab.layerRecords.get(DIFF_ID);
    assert.deepEqual([record?.tarSize, record?.entries, record?.extraSize], [TAR.length, 3, 0]);
  });

  it('is quiet about a layer that is already there, and drops the second copy', async () => {
    await lab.add(TAR);
    const before = statSync(lab.layout.layerTar(DIFF_ID)).ino;
    await lab.add(TAR);
    assert.equal(statSync(lab.layout.layerTar(DIFF_ID)).ino, before);
  });

  it('adopts one layer that two stagings bring at the same time', async () => {
    await using one = await lab.layers.stage();
    await using two = await lab.layers.stage();
    const results = [await staged(one.outDir(DIFF_ID)), await staged(two.outDir(DIFF_ID))];
    await Promise.all(results.map((result) => lab.layers.adopt([result])));
    assert.equal((await lab.layers.index(DIFF_ID)).count, 3);
    await lab.layers.verify(DIFF_ID);
    await lab.layers.sweep();
  });

  it('trusts no tar without a record: the proven one takes its place', async () => {
    await using staging = await lab.layers.stage();
    const result = await staged(staging.outDir(DIFF_ID));
    const unproven = Buffer.from(TAR);
    unproven.fill(0x21, 600, 604);
    mkdirSync(lab.layout.layer(DIFF_ID), { recursive: true });
    writeFileSync(lab.layout.layerTar(DIFF_ID), unproven);
    await lab.layers.adopt([result]);
    await lab.layers.verify(DIFF_ID);
    await lab.layers.sweep();
  });

  it('knows nothing of a layer that nobody adopted', async () => {
    assert.equal(await lab.layers.has(DIFF_ID), false);
    await assert.rejects(lab.layers.index(DIFF_ID), { code: 'LARDER_LAYER_CORRUPT' });
    await assert.rejects(lab.layers.openTar(DIFF_ID), { code: 'LARDER_LAYER_CORRUPT' });
  });

  for (const [name, spoil] of [
    ['missing', (path: string) => rmSync(path)],
    ['damaged', (path: string) => damage(path, flip)],
    ['cut', (path: string) => damage(path, (bytes) => bytes.subarray(0, 100))],
    ['empty', (path: string) => damage(path, () => Buffer.alloc(0))],
  ] as const) {
    it(`makes an index that is ${name} again, with the same bytes, and says so`, async () => {
      await lab.add(TAR);
      const path = lab.layout.layerIndex(DIFF_ID);
      const before = readFileSync(path);
      spoil(path);
      const [one, two] = await Promise.all([lab.layers.index(DIFF_ID), lab.layers.index(DIFF_ID)]);
      assert.deepEqual([one.count, two.count], [3, 3]);
      assert.ok(readFileSync(path).equals(before));
      assert.equal(lab.events.filter((event) => event.type === 'warning').length, 1);
    });
  }

  it('makes an index of another format version again', async () => {
    await lab.add(TAR);
    const record = lab.layerRecords.get(DIFF_ID);
    assert.ok(record !== undefined);
    lab.layerRecords.set(DIFF_ID, { ...record, derivedFormat: 0 });
    assert.equal((await lab.layers.index(DIFF_ID)).count, 3);
    assert.deepEqual(lab.layerRecords.get(DIFF_ID), record);
  });

  it('refuses to index a tar that is not its DiffID’s', async () => {
    await lab.add(TAR);
    rmSync(lab.layout.layerIndex(DIFF_ID));
    damage(lab.layout.layerTar(DIFF_ID), flip);
    await assert.rejects(lab.layers.index(DIFF_ID), { code: 'LARDER_LAYER_CORRUPT' });
    assert.equal(existsSync(lab.layout.layerIndex(DIFF_ID)), false);
  });

  it('makes a missing layer.extra again', async () => {
    const dirty = file('dirty', 'abc');
    dirty.fill(1, 515);
    const diffId = await lab.add(tar([dirty]));
    const { extra } = await lab.layers.files(diffId);
    assert.ok(extra !== undefined);
    const before = readFileSync(extra);
    rmSync(extra);
    const handle = await lab.layers.openExtra(diffId);
    assert.ok((await handle?.readFile())?.equals(before));
    await handle?.close();
  });

  for (const [name, size] of [
    ['short', TAR.length - 512],
    ['long', TAR.length + 512],
  ] as const) {
    it(`refuses a ${name} tar before anybody reads it, and takes a good copy in its place`, async () => {
      await lab.add(TAR);
      await chmod(lab.layout.layerTar(DIFF_ID), 0o600);
      truncateSync(lab.layout.layerTar(DIFF_ID), size);
      assert.equal(await lab.layers.has(DIFF_ID), false);
      await assert.rejects(lab.layers.openTar(DIFF_ID), { code: 'LARDER_LAYER_CORRUPT' });
      await assert.rejects(lab.layers.files(DIFF_ID), { code: 'LARDER_LAYER_CORRUPT' });
      await lab.add(TAR);
      await lab.layers.verify(DIFF_ID);
      await lab.layers.sweep();
    });
  }

  it('refuses a tar that is a symlink', async () => {
    await lab.add(TAR);
    const path = lab.layout.layerTar(DIFF_ID);
    const elsewhere = join(lab.layout.root, 'elsewhere');
    writeFileSync(elsewhere, TAR);
    rmSync(path);
    symlinkSync(elsewhere, path);
    assert.equal(await lab.layers.has(DIFF_ID), false);
    await assert.rejects(lab.layers.openTar(DIFF_ID));
  });

  it('verifies every byte of a tar', async () => {
    await lab.add(TAR);
    await lab.layers.verify(DIFF_ID);
    damage(lab.layout.layerTar(DIFF_ID), flip);
    await assert.rejects(lab.layers.verify(DIFF_ID), { code: 'LARDER_LAYER_CORRUPT' });
  });

  it('retires a layer with what is derived from it, and sweeps it', async () => {
    await lab.add(TAR);
    assert.deepEqual(await lab.layers.retire(DIFF_ID), { retired: [DIFF_ID], failures: [] });
    assert.equal(await lab.layers.has(DIFF_ID), false);
    assert.equal(existsSync(lab.layout.layer(DIFF_ID)), false);
    assert.equal(existsSync(lab.layout.derivedLayer(DIFF_ID)), false);
    assert.deepEqual(await lab.layers.retire(DIFF_ID), { retired: [], failures: [] });
    const { removed, failures } = await lab.layers.sweep();
    assert.equal(removed.length, 2);
    assert.deepEqual(failures, []);
    assert.ok(lab.events.some((event) => event.type === 'removed' && event.bytes === TAR.length));
  });

  it('keeps an open tar readable after it was retired and swept', async () => {
    await lab.add(TAR);
    await using handle = await lab.layers.openTar(DIFF_ID);
    await lab.layers.retire(DIFF_ID);
    await lab.layers.sweep();
    assert.ok((await handle.readFile()).equals(TAR));
  });

  it('sweeps what has names that are no text', async () => {
    const odd = Buffer.concat([Buffer.from(`${lab.layout.gc}/tree.1/`), Buffer.from([0xff, 0xfe])]);
    await mkdir(odd, { recursive: true });
    const { failures } = await lab.layers.sweep();
    assert.deepEqual(failures, []);
  });

  it('lists recorded layers and those that lost their record', async () => {
    const other = tar([file('other')]);
    await lab.add(TAR);
    await lab.add(other);
    lab.layerRecords.delete(DIFF_ID);
    const found = new Map<DiffId, boolean>();
    for await (const { diffId, record } of lab.layers.list()) found.set(diffId, record !== undefined);
    assert.deepEqual([found.get(DIFF_ID), found.get(diffIdOf(other)), found.size], [false, true, 2]);
  });

  it('recovers: removes the staging of the dead, keeps that of the living, and sweeps', async () => {
    const mine = await lab.layers.stage();
    const names = ['dead.0123456789abcdef', 'strange', 'alive.fedcba9876543210'];
    for (const name of names) await mkdir(join(lab.layout.staging, name, 'layer'), { recursive: true });
    await mkdir(join(lab.layout.gc, 'old'));
    await lab.layers.recover(async (handle) => handle === 'h1' || handle === 'alive');
    const left = (await readdir(lab.layout.staging)).sort();
    assert.deepEqual(left, ['alive.fedcba9876543210', mine.path.slice(lab.layout.staging.length + 1)].sort());
    assert.deepEqual(await readdir(lab.layout.gc), []);
    await mine[Symbol.asyncDispose]();
    rmSync(join(lab.layout.staging, 'alive.fedcba9876543210'), { recursive: true });
  });

  it('disposes a staging with all that was not adopted', async () => {
    const staging = await lab.layers.stage();
    await staged(staging.outDir(digestOf(TAR)));
    assert.ok(existsSync(join(staging.outDir(digestOf(TAR)), 'layer', 'layer.tar')));
    await staging[Symbol.asyncDispose]();
    assert.equal(existsSync(staging.path), false);
  });

  it('fails to adopt with a clear error when the store cannot be written', async () => {
    await using staging = await lab.layers.stage();
    const result = await staged(staging.outDir(DIFF_ID));
    rmSync(lab.layout.layers, { recursive: true });
    const error = await lab.layers.adopt([result]).catch((e: unknown) => e);
    assert.ok(isLarderError(error), String(error));
    assert.match(error.message, new RegExp(hexOf(DIFF_ID)));
    assert.equal(lab.layerRecords.size, 0);
    await mkdir(lab.layout.layers);
  });
});
