/** `worker OPTIONS`: does random things with a store that others use too, and writes down what came of each. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLarderError, type Larder, openLarder, type PulledImage } from '../../src/index.js';
import { type Line, MARKER, monotonicMs, NOISE, type Op, randomOf, type WorkerOptions } from './words.js';

const options = JSON.parse(process.argv[2] ?? '{}') as WorkerOptions;
const random = randomOf(options.seed);
const log = openSync(options.history, 'a');
/** Containers of this owner that are known to be there, with what they must show. */
const containers = new Map<string, { readonly rootfs: string; readonly digest: string }>();
let made = 0;

const larder = await did('open', {}, () => openLarder({ root: options.root, owner: options.worker }));
if (larder !== undefined) await live(larder);
closeSync(log);

async function live(store: Larder): Promise<void> {
  // What an earlier life left is not known to this one.
  await did('recover', {}, () => store.recover([]));
  while (monotonicMs() < options.untilMs) await doSomething(store);
  for (const container of [...containers.keys()]) await destroy(store, container);
  await store.close();
}

async function doSomething(store: Larder): Promise<void> {
  const dice = random(100);
  const reference = options.references[random(options.references.length)] ?? '';
  if (dice < 20) await pull(store, reference, 0);
  else if (dice < 30) await pull(store, reference, random(300));
  else if (dice < 55) await provision(store, reference);
  else if (dice < 70) await look(store);
  else if (dice < 85) await destroyOne(store);
  else if (dice < 93) await did('prune', {}, () => store.prune({ exclude: random(2) === 0 ? [reference] : [] }));
  else if (dice < 98) await did('remove', {}, () => store.remove(reference));
  else await check(store);
}

/** The image is held for a while: nothing of it may go meanwhile. */
async function pull(store: Larder, reference: string, holdMs: number): Promise<void> {
  const op = holdMs === 0 ? 'pull' : 'hold';
  await did(op, {}, async () => {
    await using image = await store.pull(reference, { cached: random(3) > 0 });
    await sleep(holdMs);
    write('bytes', op, { digest: image.record.digest, sha256: await bytesOf(image) });
  });
}

async function bytesOf(image: PulledImage): Promise<string> {
  const hash = createHash('sha256');
  for (const name of [MARKER, NOISE]) hash.update(await image.fs.readFile(`/${name}`));
  return hash.digest('hex');
}

async function provision(store: Larder, reference: string): Promise<void> {
  const container = `${options.worker}-${options.life}-${made++}`;
  await did('provision', { container }, async () => {
    const backend = (['erofs', 'erofs', 'erofs', 'copy', 'overlay', 'bind'] as const)[random(6)] ?? 'erofs';
    await using image = await store.pull(reference);
    const { rootfs } = await store.provision(reference, { id: container, backend });
    // The tag may have moved between the two: what the claim says counts.
    const digest = store.images().find((one) => one.reference === image.reference)?.digest ?? image.record.digest;
    const known = shownBy(rootfs);
    containers.set(container, { rootfs, digest });
    write('bytes', 'provision', { container, sha256: known });
  });
}

async function look(_: Larder): Promise<void> {
  const all = [...containers];
  const [container, { rootfs }] = all[random(Math.max(1, all.length))] ?? ['', { rootfs: '' }];
  if (container === '') return;
  await did('look', { container }, async () => write('bytes', 'look', { container, sha256: shownBy(rootfs) }));
}

function shownBy(rootfs: string): string {
  const hash = createHash('sha256');
  for (const name of [MARKER, NOISE]) hash.update(readFileSync(join(rootfs, name)));
  return hash.digest('hex');
}

async function destroyOne(store: Larder): Promise<void> {
  const ids = [...containers.keys()];
  const container = ids[random(Math.max(1, ids.length))];
  if (container !== undefined) await destroy(store, container);
}

async function destroy(store: Larder, container: string): Promise<void> {
  containers.delete(container);
  await did('destroy', { container }, () => store.destroy(container));
}

async function check(store: Larder): Promise<void> {
  await did('check', {}, async () => {
    for await (const finding of store.check()) {
      if (finding.kind === 'fault') throw new Error(`${finding.invariant} ${finding.subject}: ${finding.message}`);
    }
  });
}

async function did<T>(op: Op, more: Partial<Line>, work: () => Promise<T>): Promise<T | undefined> {
  write('begin', op, more);
  try {
    const result = await work();
    write('ok', op, more);
    return result;
  } catch (error) {
    const code = isLarderError(error) ? error.code : 'none';
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    write('failed', op, { ...more, code, message });
    return undefined;
  }
}

function write(what: Line['what'], op: Op, more: Partial<Line>): void {
  const { worker, life } = options;
  const line: Line = { worker, life, what, op, atMs: monotonicMs(), ...more };
  writeSync(log, `${JSON.stringify(line)}\n`);
}
