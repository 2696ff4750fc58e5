/** `main [PROCESSES [SECONDS [SEED]]]`: the long form; prints what was done and ends with 1 when anything was wrong. */
import { runNemesis } from './nemesis.js';

const [processes = 16, seconds = 60, seed = Date.now() % 100_000] = process.argv.slice(2).map(Number);
console.log(`nemesis: ${processes} processes, ${seconds} s, seed ${seed}`);
const { violations, ...rest } = await runNemesis({ processes, seconds, seed, killEveryMs: 800 });
console.log(JSON.stringify(rest, undefined, 2));
for (const violation of violations.slice(0, 50)) console.log(`VIOLATION ${violation}`);
console.log(violations.length === 0 ? 'no violation' : `${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
