/** Random trees, written, mounted and compared; a failure prints the seed that makes it again. */
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertSame, needsRoot } from './kernel-view.js';
import { LabImage } from './lab-image.js';
import { randomTree } from './random-tree.js';

describe('a random tree', needsRoot, () => {
  test('is what the kernel shows', () => {
    fc.assert(
      fc.property(randomTree, (build) => {
        const lab = new LabImage();
        try {
          assertSame(lab, build(lab));
        } finally {
          lab.remove();
        }
      }),
      { numRuns: 150 },
    );
  });
});
