/** The suite must notice a writer that is wrong: each mutant fails at least one of its cases. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import {
  type LayerWriterFixture,
  layerWriterConformance,
  type WrittenLayer,
} from '../../src/testing/conformance/layer-writer.js';
import { createFixture } from './fixture.js';

type Mutant = (fixture: LayerWriterFixture) => LayerWriterFixture;

const changed =
  (change: (layer: WrittenLayer) => WrittenLayer): Mutant =>
  (fixture) => ({ ...fixture, write: async (tar, limits) => change(await fixture.write(tar, limits)) });

const flipLast = (bytes: Uint8Array): Uint8Array => bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));
let times = 0;

const MUTANTS: Readonly<Record<string, Mutant>> = {
  'changes the tar': changed((layer) => ({ ...layer, tar: flipLast(layer.tar) })),
  'gives another DiffID': changed((layer) => ({
    ...layer,
    diffId: `${layer.diffId.slice(0, -1)}z` as WrittenLayer['diffId'],
  })),
  'forgets the extra file': changed((layer) => ({ ...layer, extra: undefined })),
  'is not deterministic': changed((layer) =>
    times++ % 2 === 0 ? layer : { ...layer, index: Buffer.concat([layer.index, Buffer.alloc(8)]) },
  ),
  'has no limits': (fixture) => ({ ...fixture, write: (tar) => fixture.write(tar, DEFAULT_LAYER_LIMITS) }),
  'leaves files behind': (fixture) => ({ ...fixture, leftovers: async () => ['staging/x'] }),
};

for (const [what, mutate] of Object.entries(MUTANTS)) {
  it(`notices a writer that ${what}`, async () => {
    const bodies: (() => Promise<void>)[] = [];
    layerWriterConformance(
      'mutant',
      async () => mutate(await createFixture()),
      (_name, _options, body) => bodies.push(body),
    );
    let failures = 0;
    for (const body of bodies) await body().catch(() => failures++);
    assert.ok(failures > 0);
  });
}
