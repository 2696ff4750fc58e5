/**
 * `node dist/test/bounds/time.js [--short] [CASE…]`: processor time of pull and provision of layers of N and of 2N entries
 * that are made to take long. Ends with 1 when twice as many take more than 2.5 times as long, or one takes more than 30 s.
 */
import { parseArgs } from 'node:util';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { trueLayer } from './hostile-layers.js';
import { HostileRegistry } from './hostile-registry.js';
import { pullApart } from './pull.js';
import { SLOW_LAYERS } from './slow-layers.js';

const LIMIT_RATIO = 2.5;
const LIMIT_MS = 30_000;
const { values, positionals } = parseArgs({ options: { short: { type: 'boolean' } }, allowPositionals: true });
let worstRatio = 0;
let slowestMs = 0;
for (const [name, { entries, make }] of Object.entries(SLOW_LAYERS)) {
  if (positionals.length > 0 && !positionals.some((word) => name.includes(word))) continue;
  const n = values.short === true ? entries / 20 : entries / 2;
  const [once, twice] = [await cpuMsOf(make(n)), await cpuMsOf(make(2 * n))];
  worstRatio = Math.max(worstRatio, twice / once);
  slowestMs = Math.max(slowestMs, twice);
  console.log(`${name}: ${n} in ${seconds(once)}, ${2 * n} in ${seconds(twice)}: ${(twice / once).toFixed(2)} times`);
}
console.log(
  `at most ${worstRatio.toFixed(2)} times of ${LIMIT_RATIO} for twice as many entries, ${seconds(slowestMs)} of ${LIMIT_MS / 1000} s`,
);
process.exitCode = worstRatio > 0 && worstRatio <= LIMIT_RATIO && slowestMs <= LIMIT_MS ? 0 : 1;

async function cpuMsOf(tars: readonly Buffer[]): Promise<number> {
  await using registry = await HostileRegistry.start();
  const root = makeDirectory();
  try {
    const layers = tars.map((tar) => trueLayer(tar));
    const reference = registry.addImage('slow', layers);
    const { outcome, cpuMs } = await pullApart({ root, reference, settings: {}, provision: true });
    if (outcome !== 'ok') throw new Error(outcome);
    return cpuMs;
  } finally {
    removeDirectory(root);
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
