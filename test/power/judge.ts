/** What is wrong with a store that a power cut left, as its next user finds it. Destroys it. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Larder, openLarder } from '../../src/index.js';
import { Layout } from '../../src/layout.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { hexOf } from '../../src/spec/digest.js';
import { type Expected, isAllowed, NONE, PINNED } from './history.js';
import { digestOfImage, digestOfRootfs, type Trees } from './trees.js';
import type { Version } from './world.js';

export interface Evidence {
  readonly root: string;
  readonly acis: string;
  readonly expected: Expected;
  readonly versions: readonly Version[];
  /** The store's own check reads every byte, too. */
  readonly deep: boolean;
  /** What images are, by their DiffIDs joined by blanks. */
  readonly trees: ReadonlyMap<string, Trees>;
  /** Images that may be there or not. */
  readonly dependencies: readonly Version[];
  /** What was compared, to be counted on. */
  readonly tally: Tally;
}

export interface Tally {
  /** Whose every file was compared. */
  images: number;
  /** The same of root filesystems that were mounted again. */
  containers: number;
  /** Containers of which `recover` said that their directories are not there. */
  told: number;
  /** Containers whose files are copies, of which nothing is promised. */
  copies: number;
}

/** Images that a rebuilt database has no name for. */
const RECOVERED = 'localhost/recovered:';

export async function judge(evidence: Evidence): Promise<string[]> {
  const { root, acis, expected } = evidence;
  const found: string[] = [];
  const warnings: string[] = [];
  try {
    await using larder = await openLarder(
      { root, owner: 'power', appc_simple_discovery_uri_prefix: acis },
      { onEvent: (event) => event.type === 'warning' && warnings.push(event.message) },
    );
    if (!expected.underWay.has('rebuild')) {
      found.push(...warnings.filter((text) => /damage|rebuilt|metadata/.test(text)).map((text) => `opening: ${text}`));
    }
    found.push(...imagesOf(larder, evidence));
    found.push(...(await meaningsOf(larder, evidence)));
    // A layer that a medium damaged is repaired by the next step of the workload, and not by a power cut.
    if (!expected.underWay.has('break')) {
      found.push(...(await layersOf(larder, evidence)));
      found.push(...(await filesOf(larder, evidence)));
    }
    found.push(...(await containersOf(larder, evidence)));
    found.push(...(await leftovers(larder, root)));
  } catch (error) {
    found.push(`not usable: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  return found;
}

/** What whoever comes first after a power cut does; a second one may follow. */
export async function reopen({ root, acis, expected }: Evidence): Promise<void> {
  await using larder = await openLarder({ root, owner: 'power', appc_simple_discovery_uri_prefix: acis });
  await larder.recover(sureOf(larder, expected));
}

/** Listed as they must be, and no other. */
function imagesOf(larder: Larder, { expected, versions, dependencies }: Evidence): string[] {
  const listed = new Map(
    larder.images().map(({ reference, layers }) => [reference, layers.map((one) => one.diffId).join(' ')]),
  );
  const names = new Set([...listed.keys(), ...expected.images.keys()]);
  return [...names].flatMap((name) => {
    const is = listed.get(name) ?? NONE;
    if (isAllowed(expected.images, name, is)) return [];
    if (dependencies.some(({ canonical, layers }) => canonical === name && layers.join(' ') === is)) return [];
    if (expected.underWay.has('rebuild')) {
      // A name may be lost with the database, its bytes are not: they are there under the name of their config.
      if (name.startsWith(RECOVERED) && versions.some(({ layers }) => layers.join(' ') === is)) return [];
    }
    return [`image ${name}: is ${is}, must be ${[...(expected.images.get(name) ?? [NONE])].join(' or ')}`];
  });
}

/** What else is said of them: that they are pinned, and what they were resolved to. */
async function meaningsOf(larder: Larder, { expected }: Evidence): Promise<string[]> {
  const found: string[] = [];
  for (const { reference, pinned, digest } of larder.images()) {
    const is = pinned === true ? PINNED : NONE;
    if (expected.pins.has(reference) && !isAllowed(expected.pins, reference, is)) found.push(`${reference}: is ${is}`);
    const isSure = expected.resolved.has(reference) && expected.images.get(reference)?.size === 1;
    const [last] = isSure ? await larder.history(reference) : [];
    if (isSure && last?.digest !== digest)
      found.push(`${reference}: is ${digest}, and its history says ${last?.digest}`);
  }
  return found;
}

/** Every byte of every layer, read here and, as all else, by the store itself. */
async function layersOf(larder: Larder, { root, deep }: Evidence): Promise<string[]> {
  const layout = new Layout(root);
  const found: string[] = [];
  for (const diffId of new Set(larder.images().flatMap(({ layers }) => layers.map((one) => one.diffId)))) {
    const path = layout.layerTar(diffId);
    const sha256 = existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'nothing';
    if (sha256 !== hexOf(diffId)) found.push(`layer ${diffId}: is ${sha256}`);
  }
  for await (const { kind, invariant, subject, message } of larder.check({ deep })) {
    if (kind === 'fault') found.push(`check: ${invariant} ${subject}: ${message}`);
  }
  return found;
}

/** What a user reads, with no registry there. */
async function filesOf(larder: Larder, { versions, trees, tally }: Evidence): Promise<string[]> {
  const found: string[] = [];
  for (const { reference, layers } of larder.images()) {
    const key = layers.map(({ diffId }) => diffId).join(' ');
    const version = versions.find((one) => one.canonical === reference && one.layers.join(' ') === key);
    if (version === undefined) continue;
    await using image = await larder.pull(version.reference);
    tally.images++;
    if ((await digestOfImage(image.fs)) !== trees.get(key)?.image) found.push(`image ${reference}: has other files`);
  }
  return found;
}

/** Claimed as they must be, and what is known is whole again. */
async function containersOf(larder: Larder, { expected, trees, tally }: Evidence): Promise<string[]> {
  const found: string[] = [];
  const is = new Map(
    larder
      .containers()
      .map((one) => [one.container as string, one.images[0]?.layers.map(({ diffId }) => diffId).join(' ') ?? '']),
  );
  for (const id of new Set([...is.keys(), ...expected.containers.keys()])) {
    const state = is.get(id) ?? NONE;
    if (!isAllowed(expected.containers, id, state)) found.push(`container ${id}: is ${state}`);
  }
  const warnings: string[] = [];
  await larder.recover(sureOf(larder, expected), {
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  });
  for (const claim of larder.containers()) {
    const rootfs = claim.images[0]?.rootfs ?? '';
    const tree = existsSync(rootfs) ? digestOfRootfs(rootfs) : NONE;
    // Its directories need not be as durable as its claim, as long as its keeper is told.
    const isTold = warnings.some((warning) => warning.startsWith(`container ${claim.container} is kept, and`));
    // The files of a copy are not synced: what is not promised is not asked for.
    const isCopy = claim.images[0]?.backend === 'copy';
    const isBroken = expected.underWay.has('break');
    tally[isTold ? 'told' : isCopy ? 'copies' : 'containers']++;
    if (!isTold && !isCopy && !isBroken && tree !== trees.get(is.get(claim.container) ?? '')?.rootfs) {
      found.push(`container ${claim.container}: has other files`);
    }
  }
  found.push(...warnings.filter((text) => !text.includes('is kept, and')).map((text) => `recover: ${text}`));
  await larder.recover([]);
  return found;
}

/** Those that were promised: who asked for them knows them. */
function sureOf(larder: Larder, expected: Expected): string[] {
  const claimed = larder.containers().map(({ container }) => container as string);
  return claimed.filter((id) => expected.containers.get(id)?.size === 1);
}

/** Nothing stays when everything has been taken away. */
async function leftovers(larder: Larder, root: string): Promise<string[]> {
  for (const { reference, pinned } of larder.images()) if (pinned === true) await larder.unpin(reference);
  await larder.prune({ all: true });
  const found = larder.images().map(({ reference }) => `image ${reference} is left`);
  for (const part of [
    'layers/sha256',
    'staging',
    'gc',
    'containers',
    'blobs/sha256',
    'blobs/sha512',
    'ingest',
    'metadata/names',
    'mounts',
  ]) {
    const path = join(root, part);
    const names = (existsSync(path) ? readdirSync(path) : []).filter((name) => !/^(?:\.|lock$)/.test(name));
    if (names.length > 0) found.push(`${part}: ${names.slice(0, 5).join(', ')} left after a prune of all`);
  }
  return [...found, ...mountsUnder(root).map(({ mountPoint }) => `${mountPoint} is still mounted`)];
}
