/**
 * `npm run bench -- entries [OPTIONS]`: what each entry of an image costs on the way from its tar's headers to its EROFS
 * image: TarReader and IndexBuilder (files without bytes), merge, EROFS writing; microseconds, and bytes of the most
 * memory that was resident beyond what it began with. Each size runs in a process of its own, cold and then warm.
 *
 *     --sizes A,B,… (10000, 100000, 1000000, 2000000)   --layers N (4)   --rounds N (3)   --out DIR (bench/out)
 */
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeErofs } from '../src/erofs/write-erofs.js';
import { DEFAULT_LAYER_LIMITS } from '../src/tar/entry.js';
import { TarReader } from '../src/tar/reader.js';
import { IndexBuilder } from '../src/tree/index-builder.js';
import { mergeLayers } from '../src/tree/merge.js';
import type { LayerIndex } from '../src/tree/types.js';
import { CHECKOUT } from '../test/checkout.js';
import { saveJson } from './cost.js';
import { describeMachine } from './machine.js';
import { summarize } from './statistics.js';
import { call } from './tools/tool.js';

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '10000,100000,1000000,2000000' },
    layers: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
    size: { type: 'string' },
  },
});

interface Round {
  readonly readUs: number;
  readonly mergeUs: number;
  readonly erofsUs: number;
}

interface Size {
  readonly entries: number;
  readonly rounds: readonly Round[];
  /** Of the whole first round, beyond the headers themselves. */
  readonly bytesPerEntry: number;
}

if (values.size === undefined) main();
else process.stdout.write(JSON.stringify(measure(Number(values.size))));

function main(): void {
  const sizes = values.sizes.split(',').map((size): Size => {
    const { layers, rounds } = values;
    const self = fileURLToPath(import.meta.url);
    const found: Size = JSON.parse(
      call(process.execPath, [self, '--size', size, '--layers', layers, '--rounds', rounds]),
    );
    report(found);
    return found;
  });
  process.stdout.write(`${saveJson(values.out, 'entries', { machine: describeMachine(CHECKOUT), sizes })}\n`);
}

function measure(entries: number): Size {
  const layers = Number(values.layers);
  const each = Math.ceil(entries / layers);
  const headers = Array.from({ length: layers }, (_, layer) => headersOf(layer, each));
  const before = process.memoryUsage.rss();
  const rounds: Round[] = [];
  let bytesPerEntry = 0;
  for (let round = 0; round < Number(values.rounds); round++) {
    const start = performance.now();
    const indexes = headers.map(readIndex);
    const read = performance.now();
    const tree = mergeLayers(indexes);
    const merged = performance.now();
    let bytes = 0;
    for (const piece of writeErofs(tree, { uuid: new Uint8Array(16).fill(1) }).pieces()) bytes += piece.length;
    const written = performance.now();
    if (bytes < entries) throw new Error('an empty image');
    const us = (ms: number) => (ms * 1000) / (each * layers);
    rounds.push({ readUs: us(read - start), mergeUs: us(merged - read), erofsUs: us(written - merged) });
    if (round === 0) bytesPerEntry = (process.resourceUsage().maxRSS * 1024 - before) / (each * layers);
  }
  return { entries, rounds, bytesPerEntry };
}

function readIndex(headers: Uint8Array): LayerIndex {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
  reader.write(headers);
  reader.end();
  return builder.finish(headers.length).index;
}

/** A layer's headers: directories of 20 files of no bytes, in packages, as in a distribution's or node's image. */
function headersOf(layer: number, count: number): Uint8Array {
  const bytes = Buffer.alloc(count * 512);
  for (let i = 0; i < count; i++) {
    const d = Math.floor(i / 21);
    const directory = `usr/lib/node_modules/package-${layer}-${Math.floor(d / 8)}/lib/module-${d % 8}/`;
    const isDirectory = i % 21 === 0;
    const header = bytes.subarray(i * 512, (i + 1) * 512);
    header.write(isDirectory ? directory : `${directory}file-${i % 21}.js`, 0, 'latin1');
    header.write(`0000${isDirectory ? 755 : 644}\0${'0000000\0'.repeat(2)}${'0'.repeat(11)}\0`, 100, 'latin1');
    header.write(`14527600000\0        ${isDirectory ? 5 : 0}`, 136, 'latin1');
    header.write('ustar\x0000', 257, 'latin1');
    const sum = header.reduce((all, byte) => all + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
  return bytes;
}

function report({ entries, rounds, bytesPerEntry }: Size): void {
  const all = ({ readUs, mergeUs, erofsUs }: Round) => readUs + mergeUs + erofsUs;
  const show = (of: (round: Round) => number) => {
    const [first = rounds[0]] = rounds;
    const cold = first === undefined ? Number.NaN : of(first);
    return `${cold.toFixed(2)} (then ${summarize(rounds.slice(1).map(of)).median.toFixed(2)})`;
  };
  process.stdout.write(
    `${entries} entries, µs each: read ${show((one) => one.readUs)}, merge ${show((one) => one.mergeUs)}, EROFS ${show((one) => one.erofsUs)}, together ${show(all)}; ${Math.round(bytesPerEntry)} bytes each\n`,
  );
}
