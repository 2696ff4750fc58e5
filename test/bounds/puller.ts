/**
 * `puller.js JOB`: the process that is measured. Opens a store, pulls, provisions where it is told to, and prints what
 * that took as a line of JSON.
 */
import { readFileSync } from 'node:fs';
import { isLarderError } from '../../src/errors.js';
import { openLarder } from '../../src/index.js';
import type { Job, Taken } from './pull.js';

const { root, reference, settings, provision }: Job = JSON.parse(process.argv[2] ?? '');
const larder = await openLarder({ registries_conf: 'none', registry_certs_dir: 'none', ...settings, root });
await larder.images();
const [restBytes, wroteBefore] = [numberIn('status', 'VmHWM') * 1024, numberIn('io', 'wchar')];
const [startMs, cpu] = [performance.now(), process.cpuUsage()];
const outcome = await carryOut();
const { user, system } = process.cpuUsage(cpu);
const taken: Taken = {
  outcome,
  ms: performance.now() - startMs,
  cpuMs: (user + system) / 1000,
  restBytes,
  peakBytes: numberIn('status', 'VmHWM') * 1024,
  wroteBytes: numberIn('io', 'wchar') - wroteBefore,
};
if (provision && outcome === 'ok') await larder.destroy('measured');
await larder.close();
process.stdout.write(`${JSON.stringify(taken)}\n`);

async function carryOut(): Promise<string> {
  try {
    await using _image = await larder.pull(reference);
    if (provision) await larder.provision(reference, { id: 'measured' });
    return 'ok';
  } catch (error) {
    if (isLarderError(error)) return error.code;
    throw error;
  }
}

/** Of proc(5): the kernel's own counts of this process, all threads together. */
function numberIn(name: 'status' | 'io', key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/self/${name}`, 'utf8'))?.[1]);
}
