/** Trees of every kind of inode, for a property or a fuzzer. */
import fc from 'fast-check';
import type { Xattr } from '../../src/tar/entry.js';
import type { Children, LabImage, LabNode, Where } from './lab-image.js';
import type { Piece } from './lab-layer.js';

/** Makes the tree in a lab of its own. */
export type Build = (lab: LabImage) => LabNode;

const nameByte = fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 0x2f);
const anyName = fc
  .oneof(
    { weight: 8, arbitrary: fc.array(nameByte, { minLength: 1, maxLength: 12 }) },
    { weight: 2, arbitrary: fc.array(nameByte, { minLength: 240, maxLength: 255 }) },
    { weight: 2, arbitrary: fc.array(fc.constantFrom(0x2d, 0x2e, 0x2f - 2, 0x30), { minLength: 1, maxLength: 4 }) },
  )
  .map((bytes) => String.fromCharCode(...bytes))
  .filter((name) => name !== '.' && name !== '..');

const xattrName = fc.tuple(
  fc.constantFrom('user.', 'trusted.', 'security.l'),
  fc.string({ minLength: 1, maxLength: 20, unit: fc.constantFrom('a', 'b', '.', '-', '\xe9') }),
);
const xattrs: fc.Arbitrary<readonly Xattr[]> = fc
  .dictionary(
    xattrName.map((parts) => parts.join('')),
    fc.uint8Array({ maxLength: 600 }),
    { maxKeys: 5 },
  )
  .map((pairs) => Object.entries(pairs).map(([name, value]) => ({ name: Buffer.from(name), value })));

const attributes: fc.Arbitrary<Where> = fc.record({
  layer: fc.integer({ min: 0, max: 6 }),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xfffffffe }),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  mtime: fc.integer({ min: -(2 ** 34), max: 2 ** 34 }),
  mtimeNs: fc.integer({ min: 0, max: 999_999_999 }),
});
const anyWhere = fc.tuple(attributes, fc.option(xattrs, { nil: undefined, freq: 3 })).map(([where, list]) => ({
  ...where,
  ...(list === undefined ? {} : { xattrs: list }),
}));
/** `user.` xattrs exist on files and directories only. */
const specialWhere = attributes;

const file: fc.Arbitrary<Build> = fc
  .tuple(anyWhere, fc.uint8Array({ maxLength: 3000 }), fc.constantFrom('tar' as const, 'extra' as const))
  .map(
    ([where, bytes, source]) =>
      (lab) =>
        lab.file(bytes, { ...where, source }),
  );

/** Holes and runs in turn, in units of a block; the last run may end inside one. */
const sparse: fc.Arbitrary<Build> = fc
  .tuple(
    anyWhere,
    fc.constantFrom(512, 1024, 4096, 8192),
    fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 3 })), { maxLength: 8 }),
    fc.integer({ min: 0, max: 511 }),
    fc.integer({ min: 0, max: 9000 }),
  )
  .map(([where, unit, plan, short, hole]) => (lab) => {
    const runs: Piece[] = [];
    let at = 0;
    plan.forEach(([gap, length], i) => {
      at += gap * unit;
      const bytes = new Uint8Array(length * unit - (i === plan.length - 1 ? short : 0)).fill(1 + (i % 200));
      runs.push({ at, bytes });
      at += bytes.length;
    });
    return lab.sparseFile(at + hole, runs, where);
  });

const link: fc.Arbitrary<Build> = fc.tuple(specialWhere, fc.integer({ min: 1, max: 4095 }), fc.boolean()).map(
  ([where, length, long]) =>
    (lab) =>
      lab.symlink('t'.repeat(long ? length : 1 + (length % 60)), where),
);

const special: fc.Arbitrary<Build> = fc
  .tuple(specialWhere, fc.constantFrom('character', 'block', 'fifo'), fc.nat({ max: 4095 }), fc.nat({ max: 1_048_575 }))
  .map(([where, kind, major, minor]) => (lab) => {
    return kind === 'fifo'
      ? lab.fifo(where)
      : lab.device(kind === 'block' ? 'block' : 'character', major, minor, where);
  });

export const { tree: randomTree } = fc.letrec<{ tree: Build; node: Build }>((tie) => ({
  node: fc.oneof({ maxDepth: 5, depthSize: 'small' }, file, sparse, link, special, tie('tree')),
  tree: fc
    .tuple(
      anyWhere,
      fc.boolean(),
      fc.array(fc.tuple(fc.array(anyName, { minLength: 1, maxLength: 2 }), tie('node')), { maxLength: 25 }),
    )
    .map(([where, implied, entries]) => (lab) => {
      const children = new Map<string, LabNode>();
      for (const [names, build] of entries) {
        const node = build(lab);
        // More than one name makes hardlinks, which directories have none of.
        for (const name of node.children.size > 0 || node.kind === 2 ? names.slice(0, 1) : names) {
          children.set(name, node);
        }
      }
      const all: Children = children;
      return implied ? lab.implied(all) : lab.directory(all, where);
    }),
}));
