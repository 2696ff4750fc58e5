import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isLarderError } from '../../src/errors.js';
import { decodeLayerIndex, encodeLayerIndex } from '../../src/tree/layer-index.js';
import { mergeLayers } from '../../src/tree/merge.js';
import { buildLines, charDevice, dir, fifo, file, hardlink, type Line, merged, show, symlink } from './entries.js';
import { BadEntry, modelTree } from './model.js';

// Few names, so that everything meets everything.
const name = fc.constantFrom('a', 'b', 'c', 'bin');
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const folder = fc.array(name, { maxLength: 3 }).map((parts) => parts.map((part) => `${part}/`).join(''));
const target = fc.oneof(
  path,
  path.map((text) => `/${text}`),
  path.map((text) => `../${text}`),
  fc.constantFrom('.', '..', '/', 'a/../b', '/missing/../c', 'missing/deep', '../../../b', 'a//b/'),
);
const uid = fc.integer({ min: 1, max: 99 });

const line: fc.Arbitrary<Line> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(path, uid).map(([at, id]) => file(at, id)) },
  { weight: 4, arbitrary: fc.tuple(path, fc.constantFrom(0o755, 0o700, 0o1777)).map(([at, mode]) => dir(at, mode)) },
  { weight: 3, arbitrary: fc.tuple(path, target).map(([at, link]) => symlink(at, link)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(path, path)
      .filter(([at, link]) => at !== link)
      .map(([at, link]) => hardlink(at, link)),
  },
  { weight: 1, arbitrary: path.map((at) => fifo(at)) },
  {
    weight: 1,
    arbitrary: fc.tuple(path, uid).map(([at, id]) => charDevice(at, { uid: id, devMajor: 1, devMinor: 3 })),
  },
  { weight: 1, arbitrary: fc.constant(dir('./', 0o711)) },
  { weight: 3, arbitrary: fc.tuple(folder, name).map(([at, gone]) => file(`${at}.wh.${gone}`)) },
  { weight: 2, arbitrary: folder.map((at) => file(`${at}.wh..wh..opq`)) },
);
const image = fc.array(fc.array(line, { maxLength: 14 }), { maxLength: 5 });

/** The image without the entries that make it invalid. */
function sound(layers: readonly (readonly Line[])[]): Line[][] {
  const kept = layers.map((lines) => [...lines]);
  for (;;) {
    try {
      modelTree(kept);
      return kept;
    } catch (error) {
      if (!(error instanceof BadEntry)) throw error;
      kept[error.layer]?.splice(error.entry, 1);
    }
  }
}

const runs = { numRuns: Number(process.env['LARDER_RUNS'] ?? 3000) };

test('Any image merges to the tree that plain extraction gives', () => {
  fc.assert(
    fc.property(image, (layers) => {
      const kept = sound(layers);
      assert.deepEqual(show(merged(...kept)), modelTree(kept));
    }),
    runs,
  );
});

test('An image is refused exactly where plain extraction fails', () => {
  fc.assert(
    fc.property(image, (layers) => {
      const fails = sound(layers).flat().length !== layers.flat().length;
      if (!fails) merged(...layers);
      else
        assert.throws(
          () => merged(...layers),
          (error) => isLarderError(error, 'LARDER_LAYER_INVALID'),
        );
    }),
    runs,
  );
});

test('Link counts, parents, order and lookups agree with the names', () => {
  fc.assert(
    fc.property(image, (layers) => {
      const tree = merged(...sound(layers));
      const links = new Uint32Array(tree.inodeCount);
      const seen = new Set<number>([0]);
      for (let inode = 0; inode < tree.inodeCount; inode++) {
        if (tree.kind(inode) !== 2) {
          assert.equal(tree.childCount[inode], 0);
          continue;
        }
        links[inode] = (links[inode] ?? 0) + 2;
        const start = tree.childStart[inode] ?? 0;
        const names = [...tree.children.subarray(start, start + (tree.childCount[inode] ?? 0))];
        for (const [k, n] of names.entries()) {
          const child = tree.inodeOf[n] ?? 0;
          assert.equal(tree.parentOf[n], inode);
          assert.equal(tree.child(inode, tree.name(n)), n);
          if (k > 0) assert.ok(Buffer.compare(tree.name(names[k - 1] ?? 0), tree.name(n)) < 0);
          if (tree.kind(child) === 2) links[inode] = (links[inode] ?? 0) + 1;
          else links[child] = (links[child] ?? 0) + 1;
          assert.ok(!seen.has(n));
          seen.add(n);
        }
        assert.equal(tree.child(inode, Buffer.from('no such name')), undefined);
      }
      assert.equal(seen.size, tree.nameCount);
      assert.deepEqual([...tree.nlink], [...links]);
    }),
    { numRuns: 500 },
  );
});

test('Decoded indexes merge to the same tree as built ones', () => {
  fc.assert(
    fc.property(image, (layers) => {
      const kept = sound(layers);
      const decoded = kept.map((lines) => decodeLayerIndex(encodeLayerIndex(buildLines(lines))));
      assert.deepEqual(show(mergeLayers(decoded)), show(merged(...kept)));
    }),
    { numRuns: 500 },
  );
});
