/** `worker OPTIONS`: does random things with a store that others use too, and writes down what came of each. */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLarderError, type Larder, openLarder, type PulledImage } from '../../src/index.js';
import { imageNamed } from '../../src/spec/any-image.js';
import { knownFrom } from './history.js';
import { type Line, MARKER, monotonicMs, NOISE, type Op, randomOf, TERMINATED, type WorkerOptions } from './words.js';

const options = JSON.parse(process.argv[2] ?? '{}') as WorkerOptions;
const random = randomOf(options.seed);
/** Containers of this owner that are known to be there, made by this life or an earlier one. */
const containers = new Set<string>(knownFrom(existsSync(options.history) ? readFileSync(options.history, 'utf8') : ''));
const log = openSync(options.history, 'a');
let made = 0;

const BACKENDS = ['erofs', 'erofs', 'erofs', 'copy', 'overlay', 'bind'] as const;
const MAX_CONTAINERS = 6;

/** What a program does that is told to end: gives up what is under way, closes the store, leaves. */
const ending = new AbortController();
const { signal } = ending;
for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => ending.abort());

const flags = { root: options.root, owner: options.worker, appc_simple_discovery_uri_prefix: options.acis };
const larder = await did('open', {}, () => openLarder(flags));
if (larder !== undefined) await live(larder);
closeSync(log);
if (signal.aborted) process.exitCode = TERMINATED;

async function live(store: Larder): Promise<void> {
  // What an earlier life was killed over is not known to this one.
  await recover(store, random(3) === 0 ? [] : [...containers]);
  while (!signal.aborted && !existsSync(options.stop)) await doSomething(store);
  if (!signal.aborted) for (const container of [...containers]) await destroy(store, container);
  await store.close();
}

/** Removals are rare enough that most images are there when somebody wants them, and often enough to be in everybody's way. */
async function doSomething(store: Larder): Promise<void> {
  const dice = random(200);
  const reference = anyReference();
  if (dice < 26) await pull(store, reference, 0);
  else if (dice < 36) await pull(store, reference, random(300));
  else if (dice < 64) await provision(store, reference);
  else if (dice < 140) await look(store);
  else if (dice < 160) await destroyOne(store);
  else if (dice < 165) await cutOff(store, reference);
  else if (dice < 170)
    await did('prune', {}, () => store.prune({ exclude: someReferences(), all: random(4) === 0, signal }));
  else if (dice < 173) await did('remove', {}, () => store.remove(reference));
  else if (dice < 176) await collectGarbage(store);
  else if (dice < 183) await did('pin', {}, () => store.pin(reference));
  else if (dice < 191) await did('unpin', {}, () => store.unpin(reference));
  else if (dice < 195)
    await recover(
      store,
      [...containers].filter(() => random(3) > 0),
    );
  else if (dice < 196) await repair(store);
  else await check(store);
}

/** None, one, or most of them. */
function someReferences(): string[] {
  const odds = [0, 1, options.references.length - 1][random(3)] ?? 0;
  return options.references.filter(() => random(options.references.length) < odds);
}

function anyReference(): string {
  return options.references[random(options.references.length)] ?? '';
}

/** The image is held for a while: nothing of it may go meanwhile. */
async function pull(store: Larder, reference: string, holdMs: number): Promise<void> {
  const op = holdMs === 0 ? 'pull' : 'hold';
  await did(op, {}, async () => {
    await using image = await store.pull(reference, { cached: random(3) > 0, signal });
    await sleep(holdMs, undefined, { signal }).catch(() => {});
    write('bytes', op, { digest: image.record.digest, sha256: await bytesOf(image) });
  });
}

async function bytesOf(image: PulledImage): Promise<string> {
  const hash = createHash('sha256');
  for (const name of [MARKER, NOISE]) hash.update(await image.fs.readFile(`/${name}`));
  return hash.digest('hex');
}

async function provision(store: Larder, reference: string): Promise<void> {
  if (containers.size >= MAX_CONTAINERS) return destroyOne(store);
  const container = newName();
  await did('provision', { container }, async () => {
    await make(store, container, reference);
    containers.add(container);
    show(store, 'provision', container);
  });
}

/** In one that is there, in one that never was, or in none. */
function newName(): string {
  const name = `${options.worker}-${options.life}-${made++}`;
  const parents = [...containers].filter((one) => one.split('/').length < 3);
  const parent = parents[random(parents.length * 2 + 1)];
  if (parent !== undefined) return `${parent}/${name}`;
  return random(8) === 0 ? `${name}-nobody/${name}` : name;
}

async function make(store: Larder, id: string, reference: string): Promise<void> {
  const backend = BACKENDS[random(BACKENDS.length)] ?? 'erofs';
  const volumes = Array.from({ length: Math.max(0, random(6) - 3) }, (_, i) => ({
    name: `v${i}`,
    image: imageNamed(anyReference(), '/'),
    readOnly: random(2) === 0,
  }));
  await store.provision(reference, { id, backend, volumes, signal });
}

/** Half of the time it is destroyed before it is there. Either way there is nothing in the end. */
async function cutOff(store: Larder, reference: string): Promise<void> {
  const container = newName();
  await did('cut-off', { container }, async () => {
    const making = make(store, container, reference);
    const outcome = making.then(
      () => undefined,
      (error: unknown) => error,
    );
    await sleep(random(150));
    await store.destroy(container);
    const error = await outcome;
    await store.destroy(container);
    if (store.containers().some((one) => one.container === container)) throw new Error('it is there');
    if (error !== undefined) throw error;
  });
}

async function look(store: Larder): Promise<void> {
  const container = [...containers][random(Math.max(1, containers.size))];
  if (container !== undefined) await did('look', { container }, async () => show(store, 'look', container));
}

function show(store: Larder, op: Op, container: string): void {
  const claim = store.containers().find((one) => one.container === container);
  if (claim === undefined) throw new Error('its claim is gone');
  for (const { name, rootfs, layers } of claim.images) {
    // What is open stays readable without its name: the mount alone would not show it.
    for (const { diffId } of layers) {
      const path = join(options.root, 'layers', diffId.replace(':', '/'), 'layer.tar');
      if (!existsSync(path)) throw new Error(`${path} is gone, and ${container} claims it`);
    }
    const hash = createHash('sha256');
    for (const path of [MARKER, NOISE]) hash.update(readFileSync(join(rootfs, path)));
    write('bytes', op, { container: name === '' ? container : `${container}#${name}`, sha256: hash.digest('hex') });
  }
}

async function destroyOne(store: Larder): Promise<void> {
  const container = [...containers][random(Math.max(1, containers.size))];
  if (container !== undefined) await destroy(store, container);
}

async function destroy(store: Larder, container: string): Promise<void> {
  for (const each of [...containers]) if (`${each}/`.startsWith(`${container}/`)) containers.delete(each);
  await did('destroy', { container }, () => store.destroy(container, { signal }));
}

/** The known ones stay, whatever they are nested in, and show what they showed. */
async function recover(store: Larder, known: readonly string[]): Promise<void> {
  containers.clear();
  await did('recover', { known }, () => store.recover(known, { signal }));
  for (const container of known) containers.add(container);
  // Where it did not come to its end, not all of them need be mounted again.
  if (signal.aborted) return;
  for (const container of known) await did('look', { container }, async () => show(store, 'look', container));
}

async function collectGarbage(store: Larder): Promise<void> {
  const config = { headroom: 0, watchIntervalMs: 1000, excludedImages: [], highWatermark: 1, lowWatermark: 1 };
  const storeMaxBytes = 500_000 + random(3_000_000);
  await did('gc', {}, () => store.collectGarbage({ config: { ...config, storeMaxBytes, minimumAgeMs: 0 }, signal }));
}

async function repair(store: Larder): Promise<void> {
  await did('repair', {}, async () => {
    for await (const { subject, outcome, message } of store.repair([], { signal })) {
      if (outcome === 'failed') throw new Error(`${subject}: ${message}`);
    }
  });
}

async function check(store: Larder): Promise<void> {
  await did('check', {}, async () => {
    for await (const finding of store.check({ signal })) {
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
    write('failed', op, { ...more, code, message, ...(signal.aborted ? { ending: true as const } : {}) });
    return undefined;
  }
}

function write(what: Line['what'], op: Op, more: Partial<Line>): void {
  const { worker, life } = options;
  const line: Line = { worker, life, what, op, atMs: monotonicMs(), ...more };
  writeSync(log, `${JSON.stringify(line)}\n`);
}
