/** `workload OPTIONS`: one life of a process that uses the store, and says to the disk what was begun and what answered. */
import { openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Larder, openLarder } from '../../src/index.js';
import type { Mark } from './history.js';
import type { Life, Step } from './planner.js';
import type { Version } from './world.js';

export interface WorkloadOptions {
  readonly root: string;
  /** The disk's own file, which keeps what is written to it in order with all else that the disk was told. */
  readonly marks: string;
  readonly acis: string;
  readonly life: Life;
}

const { root, marks, acis, life } = JSON.parse(process.argv[2] ?? '{}') as WorkloadOptions;
const disk = openSync(marks, 'r+');

say({ what: 'begin', op: 'open' });
const larder = await openLarder({
  ...{ root, owner: 'power', keep_blobs: life.keepBlobs },
  appc_simple_discovery_uri_prefix: acis,
});
say({ what: 'ok', op: 'open' });
for (const step of life.steps) await take(larder, step);
if (life.killed) process.kill(process.pid, 'SIGKILL');
await larder.close();

async function take(store: Larder, step: Step): Promise<void> {
  const promise = { op: step.op, ...promiseOf(step) };
  say({ what: 'begin', ...promise });
  await run(store, step);
  say({ what: 'ok', ...promise });
}

async function run(store: Larder, step: Step): Promise<void> {
  if (step.op === 'pull') {
    await using image = await store.pull(step.version.reference, { cached: step.cached });
    requireSame(await image.fs.readFile(step.version.path), step.version);
  } else if (step.op === 'provision') {
    const { rootfs } = await store.provision(step.version.reference, { id: step.id, backend: step.backend });
    requireSame(readFileSync(join(rootfs, step.version.path)), step.version);
  } else if (step.op === 'rollback') {
    await using image = await store.rollback(step.version.reference, { to: step.version.digest ?? '' });
    requireSame(await image.fs.readFile(step.version.path), step.version);
  } else if (step.op === 'pin') await store.pin(step.version.reference);
  else if (step.op === 'unpin') await store.unpin(step.version.reference);
  else if (step.op === 'repair') await repair(store);
  else if (step.op === 'destroy') await store.destroy(step.id);
  else if (step.op === 'remove') await store.remove(step.version.reference);
  else if (step.op === 'recover') await store.recover(step.known);
  else if (step.op === 'prune') await store.prune();
  else await collect(store);
}

async function repair(store: Larder): Promise<void> {
  for await (const { outcome, subject, message } of store.repair()) {
    if (outcome === 'failed') throw new Error(`repair ${subject}: ${message}`);
  }
}

/** Everything that may go. */
async function collect(store: Larder): Promise<void> {
  const config = { headroom: 0, watchIntervalMs: 1000, excludedImages: [], highWatermark: 1, lowWatermark: 1 };
  await store.collectGarbage({ config: { ...config, storeMaxBytes: 1, minimumAgeMs: 0 } });
}

/** What is so when the step has answered. */
function promiseOf(step: Step): Omit<Mark, 'what' | 'op'> {
  switch (step.op) {
    case 'pull':
      return { ...meaning(step.version), ...(step.cached ? {} : resolution(step.version)) };
    case 'rollback':
      return { ...meaning(step.version), ...resolution(step.version) };
    case 'pin':
    case 'unpin':
      return { pins: { [step.version.canonical]: step.op === 'pin' } };
    case 'remove':
      return { images: { [step.version.canonical]: null } };
    case 'provision':
      return { containers: { [step.id]: step.version.layers.join(' ') } };
    case 'destroy':
      return { containers: { [step.id]: null } };
    case 'recover':
      return { containers: Object.fromEntries(step.gone.map((id) => [id, null])) };
    case 'repair':
      return {};
    case 'prune':
    case 'gc':
      return { images: Object.fromEntries(step.gone.map(({ canonical }) => [canonical, null])) };
  }
}

function meaning({ canonical, layers }: Version): Pick<Mark, 'images'> {
  return { images: { [canonical]: layers } };
}

function resolution({ canonical, digest }: Version): Pick<Mark, 'resolved'> {
  return digest === undefined ? {} : { resolved: canonical };
}

function requireSame(bytes: Buffer, { text, reference }: Version): void {
  if (bytes.toString() !== text) throw new Error(`${reference}: says ${JSON.stringify(bytes.toString())}`);
}

function say(mark: Mark): void {
  writeSync(disk, JSON.stringify(mark));
}
