import assert from 'node:assert/strict';
import { existsSync, promises, truncateSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { file, tar } from '../../src/testing/tar-builder.js';
import { diffIdOf, Lab } from '../layers/lab.js';

const TAR = tar([file('a', 'x'.repeat(5000))]);
const DIFF_ID = diffIdOf(TAR);

/** Killed between two renames, `recover` found no tar there and forgot all images that have the layer. */
describe('a layer whose broken tar gives way to the proven one', () => {
  const { rename } = promises;
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open();
  });

  afterEach(async () => {
    promises.rename = rename;
    syncBuiltinESMExports();
    assert.deepEqual(await lab.leftovers(), []);
    await lab[Symbol.asyncDispose]();
  });

  it('has a tar before and after each rename', async () => {
    await lab.add(TAR);
    const path = lab.layout.layerTar(DIFF_ID);
    truncateSync(path, 512);
    const there: boolean[] = [];
    promises.rename = async (from, to) => {
      there.push(existsSync(path));
      await rename(from, to);
      there.push(existsSync(path));
    };
    syncBuiltinESMExports();
    await lab.add(TAR);
    assert.ok(there.length > 2);
    assert.ok(!there.includes(false));
    assert.equal((await lab.layers.index(DIFF_ID)).count, 1);
  });
});
