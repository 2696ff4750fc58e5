/**
 * How long the EROFS writer takes, and what it costs: `node dist/bench/erofs.js [inodes…]`. The tree is like that of an
 * image: ten files to a directory, every twentieth a link, names of about 16 bytes, everything in one of ten layers.
 */
import { at } from '../src/bytes.js';
import { writeErofs } from '../src/erofs/write-erofs.js';
import { KIND, type LayerIndex, type MergedTree } from '../src/tree/types.js';

const RUNS = 7;
const LAYERS = 10;

function layerIndex(count: number): LayerIndex {
  const kinds = Uint8Array.from({ length: count }, (_, i) => kindOf(i));
  return {
    count,
    tarSize: (count + 1) * 8192,
    extraSize: 0,
    kind: kinds,
    mode: new Uint16Array(count).fill(0o644),
    uid: new Uint32Array(count),
    gid: new Uint32Array(count),
    mtime: new Float64Array(count).fill(1_700_000_000),
    mtimeNs: new Uint32Array(count),
    size: Float64Array.from(kinds, (kind) => (kind === KIND.file ? 5000 : 0)),
    offset: Float64Array.from(kinds, (_, i) => i * 8192 + 512),
    pool: Buffer.from('../lib/libsomething.so.1'),
    pathStart: new Uint32Array(count),
    pathLength: new Uint16Array(count),
    linkStart: new Uint32Array(count),
    linkLength: new Uint16Array(count).fill(24),
    xattrs: () => [],
    hasXattrs: () => false,
    inExtra: () => false,
    sparse: () => undefined,
  };
}

function kindOf(i: number): number {
  if (i % 11 === 0) return KIND.directory;
  return i % 20 === 7 ? KIND.symlink : KIND.file;
}

/** Directory 11n holds the ten inodes after it; the root also holds every other directory's first of a hundred. */
function makeTree(count: number): MergedTree {
  const inodes = Uint32Array.from({ length: count }, (_, i) => i);
  const parent = (i: number) => (i % 11 !== 0 ? i - (i % 11) : Math.floor(i / 11 / 10) * 11);
  const parentOf = inodes.map(parent);
  const order = inodes.slice(1).sort((a, b) => at(parentOf, a) - at(parentOf, b) || a - b);
  const childStart = new Uint32Array(count);
  const childCount = new Uint32Array(count);
  order.forEach((inode, k) => {
    const dir = at(parentOf, inode);
    if (at(childCount, dir) === 0) childStart[dir] = k;
    childCount[dir] = at(childCount, dir) + 1;
  });
  const names = Buffer.alloc(16 * count);
  for (let i = 0; i < count; i++) names.write(`file-${i}`.padEnd(16, 'x'), 16 * i);
  const layers = Array.from({ length: LAYERS }, () => layerIndex(Math.ceil(count / LAYERS / 220) * 220));
  const layer = Uint16Array.from(inodes, (i) => Math.floor(i / 220) % LAYERS);
  const entry = inodes.map((i) => Math.floor(i / 220 / LAYERS) * 220 + (i % 220));
  return {
    layers,
    nameCount: count,
    inodeOf: inodes,
    parentOf,
    inodeCount: count,
    layer,
    entry,
    nlink: new Uint32Array(count).fill(1),
    children: order,
    childStart,
    childCount,
    name: (name) => names.subarray(16 * name, 16 * name + 16),
    kind: (inode) => at(layers[at(layer, inode)]?.kind ?? [], at(entry, inode)),
    child: () => undefined,
  };
}

function measure(count: number): void {
  const tree = makeTree(count);
  const plan: number[] = [];
  const all: number[] = [];
  let bytes = 0;
  const before = process.memoryUsage();
  let peak = before.rss;
  for (let run = 0; run < RUNS; run++) {
    const start = process.hrtime.bigint();
    const image = writeErofs(tree, { uuid: new Uint8Array(16).fill(1) });
    plan.push(Number(process.hrtime.bigint() - start) / 1e3 / count);
    bytes = 0;
    for (const piece of image.pieces()) {
      bytes += piece.length;
      peak = Math.max(peak, process.memoryUsage.rss());
    }
    all.push(Number(process.hrtime.bigint() - start) / 1e3 / count);
  }
  const spread = (values: number[]) => {
    const sorted = [...values].sort((a, b) => a - b);
    return { min: round(sorted.at(0)), median: round(sorted[RUNS >> 1]), max: round(sorted.at(-1)) };
  };
  console.log({
    inodes: count,
    layoutMicrosPerInode: spread(plan),
    totalMicrosPerInode: spread(all),
    imageBytes: bytes,
    bytesPerInode: round(bytes / count),
    rssGrowthMiB: round((peak - before.rss) / 2 ** 20),
  });
}

function round(value = Number.NaN): number {
  return Math.round(value * 100) / 100;
}

const sizes = process.argv.slice(2).map(Number);
for (const count of sizes.length > 0 ? sizes : [100_000, 1_000_000]) measure(count);
