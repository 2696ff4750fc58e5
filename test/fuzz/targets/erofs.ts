/** The EROFS writer: random trees are written, mounted by the kernel, and compared with what they were made of. */
import fc from 'fast-check';
import { mayMount } from '../../../src/linux/capabilities.js';
import { assertSame } from '../../erofs/kernel-view.js';
import { LabImage } from '../../erofs/lab-image.js';
import { randomTree } from '../../erofs/random-tree.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

/** An input is the seed of a tree: what the writer gets has passed the index and the merge, so bytes of it are never foreign. */
export function openErofsTarget(): FuzzTarget | undefined {
  if (!mayMount()) return undefined;
  return {
    name: 'erofs',
    codes: [],
    short: { runs: 30, meets: ['ok'] },
    make: newSeed,
    mutate: (_, random) => newSeed(random),
    run(input) {
      const lab = new LabImage();
      try {
        const seed = Buffer.concat([input, Buffer.alloc(4)]).readInt32LE();
        for (const build of fc.sample(randomTree, { seed, numRuns: 1 })) assertSame(lab, build(lab));
      } finally {
        lab.remove();
      }
    },
    budgetMs: () => 10_000,
  };
}

function newSeed(random: Random): Buffer {
  const seed = Buffer.alloc(4);
  seed.writeUInt32LE(random.below(2 ** 32));
  return seed;
}
