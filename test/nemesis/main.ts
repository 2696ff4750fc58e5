/**
 * `main [--processes N] [--operations N] [--minutes N] [--seed N] [--kill-every N]`: the long form; prints what was done,
 * and ends with 1 when anything was wrong or fewer operations came to an end than were asked for. Told to end, it checks
 * what was done by then.
 */
import { parseArgs } from 'node:util';
import { wholeNumbers } from '../helpers/whole-numbers.js';
import { libfaketime } from './clocks.js';
import { runNemesis } from './nemesis.js';
import { monotonicMs } from './words.js';

const { values } = parseArgs({
  options: {
    processes: { type: 'string', default: '16' },
    operations: { type: 'string', default: '100000' },
    minutes: { type: 'string', default: '240' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    'kill-every': { type: 'string', default: '200' },
  },
});
const { processes, operations, minutes, seed, 'kill-every': killEvery } = wholeNumbers('nemesis', values);
if (libfaketime() === undefined) throw new Error('nemesis: libfaketime is not installed: clocks would not jump');
console.log(`nemesis: ${processes} processes, ${operations} operations, seed ${seed}`);

const ending = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => ending.abort());
const startMs = monotonicMs();
let toldMs = startMs;
function onProgress(done: number): void {
  if (monotonicMs() - toldMs < 30_000) return;
  toldMs = monotonicMs();
  const perSecond = done / ((toldMs - startMs) / 1000);
  console.log(`${done} operations, ${perSecond.toFixed(1)} each second`);
}

const { violations, ...rest } = await runNemesis({
  processes,
  operations,
  maxSeconds: minutes * 60,
  seed,
  killEvery,
  inMemory: true,
  onProgress,
  signal: ending.signal,
});
console.log(JSON.stringify(rest, undefined, 2));
for (const violation of violations.slice(0, 50)) console.log(`VIOLATION ${violation}`);
console.log(violations.length === 0 ? 'no violation' : `${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
