/** `main [FLIPS [SEED]]`: the long form; prints what was done and ends with 1 when anything was missed or not healed. */
import { runHealing } from './healing.js';

const [flips = 2000, seed = Date.now() % 100_000] = process.argv.slice(2).map(Number);
console.log(`healing: ${flips} flipped bits, seed ${seed}`);
const { missed, falseAlarms, notHealed, touched, ...done } = await runHealing({ flips, seed });
console.log(JSON.stringify(done, undefined, 2));
const wrong = Object.entries({ missed, falseAlarms, notHealed, touched });
for (const [what, all] of wrong) {
  console.log(`${what}: ${all.length}`);
  for (const one of all.slice(0, 20)) console.log(`  ${one}`);
}
process.exitCode = wrong.every(([, all]) => all.length === 0) ? 0 : 1;
