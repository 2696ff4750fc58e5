/**
 * `node dist/test/bounds/memory.js [--at-limits] [--short] [CASE…]`: the most memory that pulls of hostile images take,
 * each in a process of its own, in a control group of 256 MiB where one can be made; with `--at-limits` that of images
 * which have as many entries and names as they may by default. Ends with 1 when one takes more than is promised, or is killed.
 */
import { parseArgs } from 'node:util';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { AT_THE_LIMITS, BOMBS } from './hostile-images.js';
import { HostileRegistry } from './hostile-registry.js';
import { MemoryGroup } from './memory-group.js';
import { pullApart } from './pull.js';

const MIB = 2 ** 20;
const { values, positionals } = parseArgs({
  options: { 'at-limits': { type: 'boolean', default: false }, short: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const { images, limitBytes, groupBytes } = values['at-limits']
  ? { images: AT_THE_LIMITS, limitBytes: 2048 * MIB, groupBytes: 4096 * MIB }
  : { images: BOMBS, limitBytes: 160 * MIB, groupBytes: 256 * MIB };
const directory = makeDirectory();
let mostBytes = 0;
let kills = 0;
let wrong = 0;
try {
  const names = Object.keys(images).filter(
    (name) => positionals.length === 0 || positionals.some((word) => name.includes(word)),
  );
  for (const name of names) await measure(name);
} finally {
  removeDirectory(directory);
}
console.log(`at most ${inMiB(mostBytes)} MiB of ${inMiB(limitBytes)}, ${kills} killed, ${wrong} not as expected`);
process.exitCode = mostBytes > 0 && mostBytes <= limitBytes && kills === 0 && wrong === 0 ? 0 : 1;

async function measure(name: string): Promise<void> {
  const image = images[name];
  if (image === undefined) return;
  await using registry = await HostileRegistry.start();
  using group = MemoryGroup.make(groupBytes);
  const reference = image.publish(registry, values.short ? 0.01 : 1);
  const job = { root: `${directory}/store`, reference, settings: {}, provision: true };
  try {
    const { outcome, restBytes, peakBytes, cpuMs } = await pullApart(job, group?.path);
    mostBytes = Math.max(mostBytes, peakBytes);
    const isExpected = outcome === image.outcome;
    if (!isExpected) wrong++;
    const grown = `${inMiB(peakBytes - restBytes)} more than at rest`;
    const seconds = (cpuMs / 1000).toFixed(1);
    console.log(
      `${name}: ${inMiB(peakBytes)} MiB, ${grown}, ${outcome}${isExpected ? '' : ` instead of ${image.outcome}`}, ${seconds} s of the processor${group === undefined ? ', no control group' : ''}`,
    );
  } catch (error) {
    console.log(`${name}: ${error instanceof Error ? error.message : error}; the kernel killed ${group?.kills ?? 0}`);
    kills++;
  } finally {
    removeDirectory(job.root);
  }
}

function inMiB(bytes: number): string {
  return (bytes / MIB).toFixed(0);
}
