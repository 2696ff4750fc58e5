import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { file, tar } from '../../src/testing/tar-builder.js';
import { diffIdOf, Lab } from '../layers/lab.js';

const TAR = tar([file('a', 'x'.repeat(5000))]);
const DIFF_ID = diffIdOf(TAR);

/** What is answered here is what is mounted anew: an image that shows a damaged tar must not be given to new containers. */
describe('a layer that takes the place of', () => {
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open();
    assert.deepEqual((await lab.put(TAR)).replaced, []);
  });

  afterEach(async () => {
    for (const path of await lab.leftovers()) rmSync(path, { recursive: true, force: true });
    await lab[Symbol.asyncDispose]();
  });

  const places: Readonly<Record<string, (layer: string) => void>> = {
    'a tar that was cut': (layer) => truncateSync(join(layer, 'layer.tar'), 512),
    'an empty directory': (layer) => unlinkSync(join(layer, 'layer.tar')),
    'a directory that is called like its tar': (layer) => {
      unlinkSync(join(layer, 'layer.tar'));
      mkdirSync(join(layer, 'layer.tar'));
    },
    'a file': (layer) => {
      rmSync(layer, { recursive: true });
      writeFileSync(layer, '');
    },
    'a link to where somebody moved it, and cut it': (layer) => {
      renameSync(layer, `${lab.layout.root}/elsewhere`);
      symlinkSync(`${lab.layout.root}/elsewhere`, layer);
      truncateSync(join(layer, 'layer.tar'), 512);
    },
  };
  for (const [what, change] of Object.entries(places)) {
    it(`${what} is said to`, async () => {
      change(lab.layout.layer(DIFF_ID));
      assert.deepEqual((await lab.put(TAR)).replaced, [DIFF_ID]);
      assert.equal((await lab.layers.index(DIFF_ID)).count, 1);
      await lab.layers.verify(DIFF_ID);
      assert.deepEqual((await lab.put(TAR)).replaced, []);
    });
  }
});
