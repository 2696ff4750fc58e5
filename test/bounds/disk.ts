/**
 * `node dist/test/bounds/disk.js [CASE…]`: what bombs leave on the disk. A layer may have 64 MiB here; each bomb must be refused,
 * having written no more than that and 1 MiB, in less than five seconds of the processor, and leave nothing of the layer
 * (manifest and config go with the next prune). Ends with 1 when one does not.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { type ServedLayer, trueLayer, zeroBomb } from './hostile-layers.js';
import { HostileRegistry } from './hostile-registry.js';
import { pullApart } from './pull.js';

const MIB = 2 ** 20;
const TIB = 2 ** 40;
const CAP_BYTES = 64 * MIB;
const LIMIT_BYTES = CAP_BYTES + MIB;
const LIMIT_MS = 5000;
const BOMBS: Readonly<Record<string, () => ServedLayer>> = {
  'a gzip of 1 TiB in one file': () => zeroBomb('gzip', TIB, 'one'),
  'a gzip of 1 TiB in files': () => zeroBomb('gzip', TIB, 'many'),
  'a zstd of 1 TiB in one file': () => zeroBomb('zstd', TIB, 'one'),
  'a zstd of 1 TiB in files': () => zeroBomb('zstd', TIB, 'many'),
  'a gzip of one byte more than is allowed': () =>
    trueLayer(tar([file('zeros', Buffer.alloc(CAP_BYTES - 3 * 512))], { trailing: Buffer.alloc(1) }), 'gzip'),
};

let mostBytes = 0;
let slowestMs = 0;
let wrong = 0;
const words = process.argv.slice(2);
for (const [name, make] of Object.entries(BOMBS)) {
  if (words.length === 0 || words.some((word) => name.includes(word))) await measure(name, make());
}
console.log(
  `at most ${(mostBytes / MIB).toFixed(2)} MiB written of ${LIMIT_BYTES / MIB}, refused after ${(slowestMs / 1000).toFixed(1)} s, ${wrong} not refused or not cleaned up`,
);
process.exitCode = mostBytes > 0 && mostBytes <= LIMIT_BYTES && slowestMs < LIMIT_MS && wrong === 0 ? 0 : 1;

async function measure(name: string, bomb: ServedLayer): Promise<void> {
  const root = makeDirectory();
  try {
    await using registry = await HostileRegistry.start();
    const reference = registry.addImage('bomb', [bomb]);
    const settings = { max_layer_bytes: CAP_BYTES };
    const { outcome, wroteBytes, cpuMs } = await pullApart({ root, reference, settings, provision: false });
    const left = ['ingest', 'staging', 'layers', 'derived', 'gc'].flatMap((part) => filesBelow(join(root, part)));
    if (outcome !== 'LARDER_LAYER_LIMIT' || left.length > 0) wrong++;
    mostBytes = Math.max(mostBytes, wroteBytes);
    slowestMs = Math.max(slowestMs, cpuMs);
    const rest = left.length === 0 ? 'nothing left' : `left: ${left.join(', ')}`;
    console.log(`${name}: ${outcome}, ${(wroteBytes / MIB).toFixed(2)} MiB, ${(cpuMs / 1000).toFixed(1)} s, ${rest}`);
  } finally {
    removeDirectory(root);
  }
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name);
}
