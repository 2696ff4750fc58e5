/** What is wrong with a store that a power cut left, as its next user finds it. Destroys it. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Larder, openLarder } from '../../src/index.js';
import { Layout } from '../../src/layout.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { hexOf } from '../../src/spec/digest.js';
import { type Expected, isAllowed, NONE } from './history.js';
import type { Version } from './world.js';

export interface Evidence {
  readonly root: string;
  readonly acis: string;
  readonly expected: Expected;
  readonly versions: readonly Version[];
  /** The store's own check reads every byte, too. */
  readonly deep: boolean;
  /** Images that may be there or not. */
  readonly dependencies: readonly Version[];
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
    found.push(...(await layersOf(larder, evidence)));
    found.push(...(await filesOf(larder, evidence)));
    found.push(...(await containersOf(larder, evidence)));
    found.push(...(await leftovers(larder, root)));
  } catch (error) {
    found.push(`not usable: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  return found;
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
async function filesOf(larder: Larder, { versions }: Evidence): Promise<string[]> {
  const found: string[] = [];
  for (const { reference, layers } of larder.images()) {
    const key = layers.map(({ diffId }) => diffId).join(' ');
    const version = versions.find((one) => one.canonical === reference && one.layers.join(' ') === key);
    if (version === undefined) continue;
    await using image = await larder.pull(version.reference);
    const text = (await image.fs.readFile(version.path)).toString();
    if (text !== version.text) found.push(`image ${reference}: ${version.path} says ${JSON.stringify(text)}`);
  }
  return found;
}

/** Claimed as they must be, and what is known is whole again. */
async function containersOf(larder: Larder, { expected, versions }: Evidence): Promise<string[]> {
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
  const sure = [...is.keys()].filter((id) => expected.containers.get(id)?.size === 1);
  const warnings: string[] = [];
  await larder.recover(sure, { onEvent: (event) => event.type === 'warning' && warnings.push(event.message) });
  for (const claim of larder.containers()) {
    const rootfs = claim.images[0]?.rootfs ?? '';
    const version = versions.find(({ layers }) => layers.join(' ') === is.get(claim.container));
    const path = join(rootfs, version?.path ?? '');
    const text = existsSync(path) ? readFileSync(path, 'utf8') : NONE;
    // Its directories need not be as durable as its claim, as long as its keeper is told.
    const isTold = warnings.some((warning) => warning.startsWith(`container ${claim.container} is kept, and`));
    // The files of a copy are not synced: what is not promised is not asked for.
    const isCopy = claim.images[0]?.backend === 'copy';
    if (text !== version?.text && !isTold && !isCopy)
      found.push(`container ${claim.container}: ${version?.path} says ${JSON.stringify(text)}`);
  }
  found.push(...warnings.filter((text) => !text.includes('is kept, and')).map((text) => `recover: ${text}`));
  await larder.recover([]);
  return found;
}

/** Nothing stays when everything has been taken away. */
async function leftovers(larder: Larder, root: string): Promise<string[]> {
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
