/**
 * `node dist/test/bounds/memory.js [--short] [CASE…]`: the most memory that pulls of hostile images take, each in a process of
 * its own in a control group of 256 MiB (where one can be made); ends with 1 when one takes more than is promised, or is
 * killed.
 */
import { parseArgs } from 'node:util';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { HOSTILE_IMAGES } from './hostile-images.js';
import { HostileRegistry } from './hostile-registry.js';
import { MemoryGroup } from './memory-group.js';
import { pullApart } from './pull.js';

const MIB = 2 ** 20;
const LIMIT_BYTES = 160 * MIB;
const GROUP_BYTES = 256 * MIB;

const { values, positionals } = parseArgs({ options: { short: { type: 'boolean' } }, allowPositionals: true });
const directory = makeDirectory();
let mostBytes = 0;
let kills = 0;
let wrong = 0;
try {
  const names = Object.keys(HOSTILE_IMAGES).filter(
    (name) => positionals.length === 0 || positionals.some((word) => name.includes(word)),
  );
  for (const name of names) await measure(name);
} finally {
  removeDirectory(directory);
}
console.log(`at most ${inMiB(mostBytes)} MiB of ${inMiB(LIMIT_BYTES)}, ${kills} killed, ${wrong} not as expected`);
process.exitCode = mostBytes > 0 && mostBytes <= LIMIT_BYTES && kills === 0 && wrong === 0 ? 0 : 1;

async function measure(name: string): Promise<void> {
  const image = HOSTILE_IMAGES[name];
  if (image === undefined) return;
  await using registry = await HostileRegistry.start();
  using group = MemoryGroup.make(GROUP_BYTES);
  const reference = image.publish(registry, values.short === true ? 0.01 : 1);
  const job = { root: `${directory}/store`, reference, settings: {}, provision: true };
  try {
    const { outcome, restBytes, peakBytes, ms } = await pullApart(job, group?.path);
    mostBytes = Math.max(mostBytes, peakBytes);
    const isExpected = outcome === image.outcome;
    if (!isExpected) wrong++;
    const grown = `${inMiB(peakBytes - restBytes)} more than at rest`;
    const seconds = (ms / 1000).toFixed(1);
    console.log(
      `${name}: ${inMiB(peakBytes)} MiB, ${grown}, ${outcome}${isExpected ? '' : ` instead of ${image.outcome}`}, ${seconds} s${group === undefined ? ', no control group' : ''}`,
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
