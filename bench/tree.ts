/**
 * What layer indexes and merged trees cost: microseconds and bytes per entry, at several sizes, and whether time stays
 * linear where a hostile image would like it not to.
 *
 *     node --expose-gc dist/bench/tree.js [entries...]
 */
import { DEFAULT_LAYER_LIMITS, ENTRY, makeEntry } from '../src/tar/entry.js';
import { IndexBuilder } from '../src/tree/index-builder.js';
import { decodeLayerIndex, encodeLayerIndex } from '../src/tree/layer-index.js';
import { mergeLayers } from '../src/tree/merge.js';
import type { LayerIndex } from '../src/tree/types.js';

const ROUNDS = 5;
const encoder = new TextEncoder();
const scratch = makeEntry({ mode: 0o644, mtime: 1_700_000_000 });

type Path = readonly [type: 1 | 2, path: string];

/** Directories of 40 files, five deep, as in a distribution's image. */
function* distribution(count: number): Generator<Path> {
  for (let i = 0; i < count; i++) {
    const d = Math.floor(i / 41);
    const directory = `usr/share/package-${d % 97}/module-${Math.floor(d / 97)}/locale`;
    yield i % 41 === 0 ? [ENTRY.directory, `${directory}/`] : [ENTRY.file, `${directory}/message-catalogue-${i}.mo`];
  }
}

function* shuffled(count: number): Generator<Path> {
  for (let i = 0; i < count; i++) yield [ENTRY.file, `one/file-${(i * 7919) % count}`];
}

function* opaques(count: number): Generator<Path> {
  for (let i = 0; i < count; i++) yield [ENTRY.file, `d${i}/.wh..wh..opq`];
}

function* directories(count: number): Generator<Path> {
  for (let i = 0; i < count; i++) yield [ENTRY.directory, `d${i}`];
}

function build(paths: Iterable<Path>) {
  const builder = new IndexBuilder({ ...DEFAULT_LAYER_LIMITS, maxEntries: 4_000_000 });
  let offset = 0;
  for (const [type, path] of paths) {
    scratch.type = type;
    scratch.path = encoder.encode(path);
    scratch.size = type === ENTRY.file ? 100 : 0;
    scratch.stored = scratch.size;
    scratch.offset = offset + 512;
    offset += 1024;
    builder.entry(scratch);
  }
  return builder.finish(offset + 1024);
}

/** Milliseconds of the fastest and the middle round. */
function measure(run: () => unknown): { min: number; median: number } {
  const times = Array.from({ length: ROUNDS }, () => {
    globalThis.gc?.();
    const start = performance.now();
    run();
    return performance.now() - start;
  }).sort((a, b) => a - b);
  return { min: times[0] ?? 0, median: times[ROUNDS >> 1] ?? 0 };
}

function bytesHeld(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function row(what: string, count: number, { min, median }: { min: number; median: number }, bytes?: number): void {
  const each = (ms: number) => ((ms * 1000) / count).toFixed(3).padStart(7);
  const size = bytes === undefined ? '' : `${(bytes / count).toFixed(1).padStart(8)} bytes`;
  console.log(`${what.padEnd(34)} ${String(count).padStart(9)} ${each(min)} ${each(median)} us/entry${size}`);
}

function benchSize(count: number): void {
  const paths = [...distribution(count)];
  const generate = measure(() => {
    for (const [, path] of paths) encoder.encode(path);
  });
  const building = measure(() => build(paths));
  const before = bytesHeld();
  const built = build(paths);
  row(
    'build',
    count,
    { min: building.min - generate.min, median: building.median - generate.median },
    bytesHeld() - before,
  );
  const encoded = encodeLayerIndex(built);
  row(
    'encode',
    count,
    measure(() => encodeLayerIndex(built)),
    encoded.length,
  );
  row(
    'decode',
    count,
    measure(() => decodeLayerIndex(encoded)),
  );
  const index = decodeLayerIndex(encoded);
  benchMerge('merge, one layer', [index]);
  const upper = decodeLayerIndex(encodeLayerIndex(build(distribution(count))));
  benchMerge('merge, a second with the same names', [index, upper]);
  benchMerge('merge, one directory, no order', [build(shuffled(count)).index]);
}

function benchMerge(what: string, layers: readonly LayerIndex[]): void {
  const count = layers.reduce((sum, layer) => sum + layer.count, 0);
  const time = measure(() => mergeLayers(layers));
  const before = bytesHeld();
  const tree = mergeLayers(layers);
  row(what, count, time, bytesHeld() - before);
  if (tree.nameCount === 0) throw new Error('an empty tree');
}

const sizes = process.argv.slice(2).map(Number);
console.log(`${'what'.padEnd(34)} ${'entries'.padStart(9)} ${'min'.padStart(7)} ${'median'.padStart(7)}`);
for (const size of sizes.length > 0 ? sizes : [100_000, 1_000_000]) benchSize(size);
for (const n of [20_000, 40_000]) {
  benchMerge(`merge, ${n} opaques on ${n} dirs`, [build(directories(n)).index, build(opaques(n)).index]);
}
const small = build(distribution(2_000)).index;
benchMerge(
  'merge, 500 layers of 2,000',
  Array.from({ length: 500 }, () => small),
);
console.log(`largest resident size: ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
