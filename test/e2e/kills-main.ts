/** `kills-main [KILLS [LAYERS [MIB [PAUSE_MS [SEED]]]]]`: the long form; prints what was served and ends with 1 above 1.05. */
import { pullWithKills } from './kills.js';

const [kills = 100, layers = 10, mib = 20, pauseMs = 2, seed = Date.now() % 100_000] = process.argv
  .slice(2)
  .map(Number);
console.log(`${kills} kills, ${layers} layers of ${mib} MiB, a pause of ${pauseMs} ms, seed ${seed}`);
const onKill = process.env['VERBOSE'] === undefined ? {} : { onKill: console.log };
const result = await pullWithKills({ kills, layers, layerBytes: mib << 20, pauseMs, seed, ...onKill });
console.log(JSON.stringify(result, undefined, 2));
process.exitCode = result.ratio <= 1.05 && result.check === 'clean' ? 0 : 1;
