/**
 * ▸ `check`: reads the store against every numbered invariant (docs/storage.md) and changes nothing, not even what
 * opening a store clears; of a layer whose bytes are wrong it leaves a note in the database. It runs at the end of every
 * test that opened a store and after every killed process.
 *
 * Two kinds of findings. A `fault` breaks an invariant: something that was promised is not there or not what it was.
 * `garbage` is what an interrupted operation left; it is safe, and the next prune takes it.
 *
 * The fast form looks at names, records and sizes and hashes the small documents; `deep` hashes every byte.
 *
 * It takes no lock. A prune, pull or provision beside it may change the disk between two looks, so a fault counts only
 * when it is found again.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Semaphore } from './concurrency.js';
import type { ContentStore } from './content/content-store.js';
import { errnoOf, isLarderError, systemError, throwIfAborted } from './errors.js';
import type { OperationOptions } from './events.js';
import type { LayerStore } from './layers/layer-store.js';
import { DERIVED_FORMAT, type Layout } from './layout.js';
import { mountNamesBelow } from './linux/mountinfo.js';
import { namesIn } from './linux/names-in.js';
import type { Claims } from './metadata/claims.js';
import type { Derived } from './metadata/derived.js';
import { isHandleAlive } from './metadata/handles.js';
import type { Layers } from './metadata/layers.js';
import type { MetadataManager } from './metadata/metadata-manager.js';
import type { ClaimRecord, ImageRecord, LayerRecord } from './metadata/records.js';
import { directoryNameOf } from './spec/container-id.js';
import type { DiffId, Digest } from './spec/digest.js';
import { type StackLayer, whitelistOf } from './spec/stack.js';

export interface Finding {
  readonly kind: 'fault' | 'garbage';
  /** The invariant that it concerns: I1 … I11. */
  readonly invariant: string;
  readonly subject: string;
  readonly message: string;
}

export interface CheckParts {
  readonly layout: Layout;
  /** One for each image type. */
  readonly metadata: readonly MetadataManager[];
  readonly claims: Claims;
  readonly derived: Derived;
  readonly layerRecords: Layers;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly integrity: () => readonly string[];
  /** Notes that a layer's bytes are not what its name says, so that it is read again before anybody is given them. */
  readonly suspect: (diffId: DiffId) => Promise<void>;
  /** Handles that leases name. */
  readonly leaseHandles: () => readonly string[];
}

export interface CheckOptions extends OperationOptions {
  readonly deep?: boolean;
}

export async function* checkStore(parts: CheckParts, options: CheckOptions = {}): AsyncGenerator<Finding, void, void> {
  for (const check of [
    checkDatabase,
    checkBlobs,
    checkLayers,
    checkBytes,
    checkImages,
    checkNames,
    checkClaims,
    checkDerived,
    checkLeases,
    checkLeftovers,
    checkMounts,
  ]) {
    const faults: Finding[] = [];
    for await (const finding of guarded(parts.layout.root, () => check(parts, options), options)) {
      if (finding.kind === 'garbage') yield finding;
      else faults.push(finding);
    }
    // Bytes that were read through one open file are what they are: they need not all be read once more.
    if (faults.length === 0 || check === checkBytes) {
      yield* faults;
      continue;
    }
    const again = new Set<string>();
    for await (const finding of guarded(parts.layout.root, () => check(parts, options), options)) {
      again.add(keyOf(finding));
    }
    yield* faults.filter((finding) => again.has(keyOf(finding)));
  }
}

/** What cannot be read is a fault of its subject, and does not keep the rest from being looked at. */
async function* guarded(
  subject: string,
  look: () => AsyncIterable<Finding> | Promise<unknown>,
  { signal }: CheckOptions,
  invariant = 'I3',
): AsyncGenerator<Finding> {
  throwIfAborted(signal, 'check');
  try {
    const looked = look();
    if (Symbol.asyncIterator in looked) yield* looked;
    else await looked;
  } catch (error) {
    throwIfAborted(signal, 'check');
    // Errors of the system and of the store are findings; what else is thrown is a bug of ours.
    if (!isLarderError(error) && errnoOf(error) === undefined) throw error;
    yield fault(invariant, subject, error instanceof Error ? error.message : String(error));
  }
}

function keyOf({ invariant, subject, message }: Finding): string {
  return JSON.stringify([invariant, subject, message]);
}

async function* checkDatabase({ integrity, layout }: CheckParts): AsyncGenerator<Finding> {
  for (const line of integrity()) yield fault('I3', layout.database, line);
}

async function* checkBlobs({ content }: CheckParts, options: CheckOptions): AsyncGenerator<Finding> {
  for await (const { digest } of content.list()) yield* guarded(digest, () => content.find(digest), options, 'I1');
}

async function* checkLayers(parts: CheckParts, options: CheckOptions): AsyncGenerator<Finding> {
  // A store into which nothing was pulled yet has no such directory.
  if ((await statOf(parts.layout.layers)) !== undefined) {
    for await (const { diffId, record } of parts.layers.list()) {
      if (record === undefined) yield garbage('I2', diffId, 'a tar that no record names');
      else yield* guarded(diffId, () => checkLayer(parts, record), options, 'I2');
    }
  }
  for (const { diffId } of parts.layerRecords.list()) {
    if ((await statOf(parts.layout.layer(diffId))) !== undefined) continue;
    // Pruned since the list was read.
    if ((await parts.layers.record(diffId)) === undefined) continue;
    yield fault('I2', diffId, 'a record without its tar');
  }
}

/** Several at once: SHA-256 keeps one core busy with each. */
async function* checkBytes(parts: CheckParts, options: CheckOptions): AsyncGenerator<Finding> {
  if (options.deep !== true) return;
  const records = parts.layerRecords.list();
  const total = records.reduce((sum, { tarSize }) => sum + tarSize, 0);
  const found: Finding[] = [];
  const slots = new Semaphore(Math.max(2, cpus().length));
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    options.onEvent?.({ type: 'progress', what: 'check', done, total });
  };
  const look = async ({ diffId }: LayerRecord): Promise<void> => {
    const findings = guarded(diffId, () => checkTar(parts, diffId, onBytes, options), options, 'I2');
    for await (const finding of findings) found.push(finding);
  };
  await Promise.all(records.map((record) => slots.run(() => look(record), options.signal)));
  yield* found;
}

async function checkTar(
  { layers, suspect }: CheckParts,
  diffId: DiffId,
  onBytes: (bytes: number) => void,
  { signal, onEvent }: CheckOptions,
): Promise<void> {
  try {
    await layers.verify(diffId, { onBytes, ...(signal === undefined ? {} : { signal }) });
  } catch (error) {
    // Reported by the fast form, or pruned meanwhile.
    if (isLarderError(error, 'LARDER_PATH_NOT_FOUND')) return;
    if (isLarderError(error, 'LARDER_LAYER_CORRUPT')) {
      await suspect(diffId).catch((cause: unknown) => {
        if (!isLarderError(cause)) throw cause;
        onEvent?.({ type: 'warning', message: `layer ${diffId}: its damage could not be noted: ${cause.message}` });
      });
    }
    throw error;
  }
}

async function* checkLayer({ layout }: CheckParts, { diffId, tarSize }: LayerRecord): AsyncGenerator<Finding> {
  const found = await statOf(layout.layerTar(diffId));
  if (found === undefined) yield fault('I2', diffId, 'there is no layer.tar');
  else if (found.size !== tarSize) yield fault('I2', diffId, `layer.tar has ${found.size} bytes instead of ${tarSize}`);
  else if ((found.mode & 0o777) !== 0o400)
    yield fault('I11', diffId, `layer.tar has mode ${(found.mode & 0o777).toString(8)} instead of 400`);
  const others = (await namesIn(layout.layer(diffId), 'check')).filter((name) => name !== 'layer.tar');
  if (others.length > 0) yield fault('I2', diffId, `its directory has ${others.join(', ')} beside layer.tar`);
}

async function* checkImages(parts: CheckParts, options: CheckOptions): AsyncGenerator<Finding> {
  for (const metadata of parts.metadata) {
    for (const record of metadata.list()) {
      const { reference, platform, createdAtMs } = record;
      const subject = `${reference} ${platform}`;
      for await (const finding of guarded(subject, () => checkImage(parts, record, subject), options)) {
        // Pruned meanwhile, and perhaps pulled again: it was another record that was looked at.
        if (metadata.get(reference, true, platform)?.createdAtMs === createdAtMs) yield finding;
      }
    }
  }
}

/** No answer comes from these files: they are for a lost database. */
async function* checkNames({ metadata }: CheckParts, { deep }: CheckOptions): AsyncGenerator<Finding> {
  if (deep !== true) return;
  for (const one of metadata) {
    for await (const { reference, platform } of one.damagedNames()) {
      yield garbage(
        'I3',
        `name of ${reference} ${platform}`,
        'its file is not as it was written; `repair` writes it again',
      );
    }
  }
}

async function* checkImage(parts: CheckParts, record: ImageRecord, subject: string): AsyncGenerator<Finding> {
  const diffIds = record.layers.map((layer) => layer.diffId);
  const documents = [record.manifest, record.config, ...(record.extraBlobs ?? [])];
  yield* missingLayers(parts, subject, diffIds, 'I3');
  yield* missingBlobs(parts, subject, documents, 'I3');
  yield* unheldWhitelists(subject, record.layers, documents, 'I3');
  if (new Set(diffIds).size < diffIds.length) yield fault('I7', subject, 'a layer is listed twice');
}

/** What a view shows is said by a document, which must be held as the layer is. */
function* unheldWhitelists(
  subject: string,
  stack: readonly StackLayer[],
  held: readonly Digest[],
  invariant: string,
): Generator<Finding> {
  for (const { diffId, view } of stack) {
    const document = whitelistOf(view);
    if (document === undefined || held.includes(document)) continue;
    yield fault(invariant, subject, `the whitelist ${document} of layer ${diffId} is not among its documents`);
  }
}

async function* checkClaims(parts: CheckParts, options: CheckOptions): AsyncGenerator<Finding> {
  const claims = parts.claims.list();
  for (const claim of claims) {
    const subject = `container ${claim.container}`;
    for await (const finding of guarded(subject, () => checkClaim(parts, claim, subject), options, 'I5')) {
      // Destroyed meanwhile, and what it held may have gone.
      if (parts.claims.get(claim.container)?.createdAtMs === claim.createdAtMs) yield finding;
    }
  }
  const known = new Set(claims.map((claim) => directoryNameOf(claim.container)));
  for (const name of await namesIn(parts.layout.containers, 'check')) {
    if (!name.endsWith('.lock') && !known.has(name))
      yield fault('I4', `container ${name}`, 'a directory without a claim');
  }
  for (const { container, images } of claims) {
    const volumes = new Set(images.map(({ name }) => name));
    for (const name of await namesIn(parts.layout.volumes(container), 'check')) {
      if (!volumes.has(name)) yield fault('I4', `container ${container}`, `volume ${name} without a claim`);
    }
  }
}

async function* checkClaim(parts: CheckParts, claim: ClaimRecord, subject: string): AsyncGenerator<Finding> {
  const layers = claim.images.flatMap((image) => image.layers);
  yield* missingLayers(parts, subject, [...new Set(layers.map(({ diffId }) => diffId))], 'I5');
  yield* missingBlobs(parts, subject, claim.blobs, 'I5');
  yield* unheldWhitelists(subject, layers, claim.blobs, 'I5');
  for (const { name } of claim.images) {
    if ((await statOf(join(parts.layout.backendDirectory(claim.container, name), 'half'))) === undefined) continue;
    yield garbage('I4', subject, 'files of its root filesystem are missing: the provision was interrupted; destroy it');
  }
  if ((await statOf(parts.layout.container(claim.container))) === undefined) {
    yield garbage('I4', subject, 'a claim without its directory: the provision was interrupted; destroy it');
  }
}

async function* missingLayers(
  { layers }: CheckParts,
  subject: string,
  diffIds: readonly DiffId[],
  invariant: string,
): AsyncGenerator<Finding> {
  for (const diffId of diffIds)
    if (!(await layers.has(diffId))) yield fault(invariant, subject, `layer ${diffId} is not in the store`);
}

async function* missingBlobs(
  { content }: CheckParts,
  subject: string,
  digests: readonly Digest[],
  invariant: string,
): AsyncGenerator<Finding> {
  for (const digest of digests)
    if (!(await content.has(digest))) yield fault(invariant, subject, `blob ${digest} is not in the store`);
}

interface ExpectedFile {
  readonly subject: string;
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

async function* checkDerived(parts: CheckParts, options: CheckOptions): AsyncGenerator<Finding> {
  const { layout } = parts;
  const expected: ExpectedFile[] = [];
  for (const record of parts.layerRecords.list()) {
    if (record.derivedFormat !== DERIVED_FORMAT) continue;
    const { diffId, indexSize, indexSha256, extraSize, extraSha256 } = record;
    expected.push({
      subject: `index of ${diffId}`,
      path: layout.layerIndex(diffId),
      size: indexSize,
      sha256: indexSha256,
    });
    if (extraSha256 === undefined) continue;
    expected.push({
      subject: `layer.extra of ${diffId}`,
      path: layout.layerExtra(diffId),
      size: extraSize,
      sha256: extraSha256,
    });
  }
  for (const { key, size, sha256 } of parts.derived.list('merged')) {
    expected.push({ subject: `merged image ${key}`, path: layout.merged(key), size, sha256 });
  }
  for (const file of expected) yield* guarded(file.subject, () => checkFile(file, options), options, 'I10');
  for (const { key } of parts.derived.list('chain')) {
    if ((await statOf(join(layout.derived, 'chains', key))) !== undefined) continue;
    yield garbage('I10', `overlay directory ${key}`, 'missing; it is made again when it is needed');
  }
}

/** Missing is no fault: it is made again when it is needed. Present and wrong would be, were it ever used. */
async function* checkFile(
  { subject, path, size, sha256 }: ExpectedFile,
  { deep }: CheckOptions,
): AsyncGenerator<Finding> {
  const found = await statOf(path);
  if (found === undefined) yield garbage('I10', subject, 'missing; it is made again when it is needed');
  else if (found.size !== size || (deep === true && (await sha256Of(path)) !== sha256)) {
    yield garbage('I10', subject, 'not as recorded; it is made again when it is needed');
  }
}

async function* checkLeases({ layout, leaseHandles }: CheckParts): AsyncGenerator<Finding> {
  for (const handle of leaseHandles()) {
    if (!isHandleAlive(layout, handle))
      yield garbage('I5', `leases of ${handle}`, 'its process is gone; they hold nothing');
  }
}

async function* checkLeftovers({ layout, content }: CheckParts): AsyncGenerator<Finding> {
  for (const name of await namesIn(layout.staging, 'check')) {
    if (!isHandleAlive(layout, name.split('.', 1)[0] ?? ''))
      yield garbage('I6', `staging/${name}`, 'nobody works on it');
  }
  for (const name of await namesIn(layout.pulls, 'check')) {
    if (!isHandleAlive(layout, name.split('.', 1)[0] ?? ''))
      yield garbage('I6', `pulls/${name}`, 'the process that pulled is gone');
  }
  for (const name of await namesIn(layout.gc, 'check')) yield garbage('I6', `gc/${name}`, 'waits to be deleted');
  for await (const { digest, size, busy } of content.listIngests()) {
    if (!busy) yield garbage('I6', `download of ${digest}`, `${size} bytes are kept for a resume`);
  }
}

async function* checkMounts({ layout, claims }: CheckParts): AsyncGenerator<Finding> {
  if (process.platform !== 'linux') return;
  for (const key of mountNamesBelow(layout.mounts)) {
    if (claims.holdersOf(key).length === 0) yield garbage('I4', `mount ${layout.mount(key)}`, 'no container uses it');
  }
}

function fault(invariant: string, subject: string, message: string): Finding {
  return { kind: 'fault', invariant, subject, message };
}

function garbage(invariant: string, subject: string, message: string): Finding {
  return { kind: 'garbage', invariant, subject, message };
}

async function statOf(path: string): Promise<{ readonly size: number; readonly mode: number } | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`check ${path}`, error);
  }
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  } catch (error) {
    throw systemError(`check ${path}`, error);
  }
  return hash.digest('hex');
}
