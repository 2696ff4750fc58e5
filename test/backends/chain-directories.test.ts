import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ChainDirectories } from '../../src/backends/chain-directories.js';
import { type RunTask, runHere } from '../../src/backends/tasks.js';
import { dir, file, tar, whiteout } from '../../src/testing/tar-builder.js';
import { makeStore, needsRoot, type StoreFixture } from './store-fixture.js';

describe('overlay directories of layers', { skip: needsRoot }, () => {
  let store: StoreFixture;
  let directory: string;

  beforeEach(() => {
    store = makeStore();
    directory = join(store.layers.layout.derived, 'chains');
  });

  afterEach(() => store.dispose());

  const open = (run: RunTask = runHere): ChainDirectories =>
    new ChainDirectories({ directory, access: store.layers, run });

  const add = (...tars: readonly Uint8Array[]): readonly string[] => tars.map((one) => store.layers.add(one));

  const made = (): readonly string[] => readdirSync(directory).filter((name) => name !== '.lock');

  it('are shared by images with the same layers below', async () => {
    const [base = '', one = '', two = ''] = add(tar([dir('d')]), tar([file('d/one')]), tar([file('d/two')]));
    const first = await open().prepare([base, one]);
    const second = await open().prepare([base, two]);
    assert.equal(first[0], second[0]);
    assert.equal(made().length, 3);
  });

  it('depend on what is below them', async () => {
    const [base = '', other = '', top = ''] = add(tar([file('a')]), tar([file('b')]), tar([whiteout('a')]));
    const [, overA = ''] = await open().prepare([base, top]);
    const [, overB = ''] = await open().prepare([other, top]);
    assert.notEqual(overA, overB);
    assert.deepEqual([readdirSync(overA), readdirSync(overB)], [['a'], []]);
  });

  it('are recorded base first, with their layers, before they are used', async () => {
    const layers = add(tar([file('a', 'four')]), tar([file('b', 'six666')]));
    const paths = await open().prepare(layers);
    const diffIds = layers.map((path) => `sha256:${basename(path)}`);
    assert.deepEqual(store.layers.chains, [
      { key: basename(paths[0] ?? ''), layers: diffIds.slice(0, 1), size: 4 },
      { key: basename(paths[1] ?? ''), layers: diffIds, size: 6 },
    ]);
  });

  it('that were made but not recorded before a kill are recorded by the next', async () => {
    const layers = add(tar([file('a')]));
    await open().prepare(layers);
    store.layers.chains.length = 0;
    const [path = ''] = await open().prepare(layers);
    assert.deepEqual(
      store.layers.chains.map(({ key }) => key),
      [basename(path)],
    );
  });

  it('are written once when two ask at the same time', async () => {
    const layers = add(tar([file('a')]), tar([file('b')]));
    let builds = 0;
    const counting: RunTask = (name, data, control) => {
      if (name === 'buildChains') builds++;
      return runHere(name, data, control);
    };
    await Promise.all([open(counting).prepare(layers), open(counting).prepare(layers)]);
    assert.equal(builds, 1);
  });

  it('take away what a killed process left half made', async () => {
    const left = join(directory, '.making-killed', 'x');
    mkdirSync(left, { recursive: true });
    writeFileSync(join(left, 'half'), '');
    await open().prepare(add(tar([file('a')])));
    assert.equal(made().length, 1);
  });

  it('leave nothing when they could not be made', async () => {
    const [layer = ''] = add(tar([file('a', 'x'.repeat(600))]));
    const { index } = await store.layers.layerFiles(layer);
    const files = { ...(await store.layers.layerFiles(layer)), indexSha256: '0'.repeat(64) };
    const broken = new ChainDirectories({
      directory,
      run: runHere,
      access: {
        layerFiles: async () => files,
        mergedKeyOf: () => '',
        mergedImage: (paths) => store.layers.mergedImage(paths),
        recordChain: (record) => store.layers.recordChain(record),
        isUsed: () => false,
      },
    });
    await assert.rejects(broken.prepare([layer]), { code: 'LARDER_LAYER_CORRUPT', message: new RegExp(index) });
    assert.deepEqual(made(), []);
    assert.deepEqual(store.layers.chains, []);
  });

  it('that are aborted half way leave nothing', async () => {
    const many = Array.from({ length: 2000 }, (_, i) => file(`f${i}`, String(i)));
    const layers = add(tar(many));
    const controller = new AbortController();
    const aborting: RunTask = (name, data, control) => {
      if (name === 'buildChains') setImmediate(() => controller.abort());
      return runHere(name, data, control);
    };
    await assert.rejects(open(aborting).prepare(layers, { signal: controller.signal }), { code: 'LARDER_ABORTED' });
    assert.deepEqual(made(), []);
    assert.equal(readFileSync(join((await open().prepare(layers))[0] ?? '', 'f7'), 'utf8'), '7');
  });
});
