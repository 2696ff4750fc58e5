/**
 * ACIs one by one: found in the store, or discovered, downloaded, verified and adopted as a layer. The image id is the
 * SHA-512 of the tar, computed in the one pass that stores it; nothing is adopted before id, layout, manifest, name and
 * labels are what was asked for.
 */
import { allOrNone, Semaphore, type SharedWork } from '../../concurrency.js';
import { isLarderError, LarderError } from '../../errors.js';
import type { OnEvent } from '../../events.js';
import type { LayerJob, LayerProgress, LayerResult } from '../../layers/layer-task.js';
import type { Lease } from '../../metadata/leases.js';
import { type AppcManifest, matchesRequest, parseAppcManifest } from '../../spec/appc-manifest.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../../spec/appc-name.js';
import { type AppcImageId, digestOfImageId, imageIdOf, parseImageId } from '../../spec/appc-types.js';
import { digestOf, parseDigest } from '../../spec/digest.js';
import type { LayerLimits } from '../../tar/entry.js';
import type { WorkerPool } from '../../workers/pool.js';
import { identityOfFile } from '../archives/archive-files.js';
import { isSound, type ReadThroughParts } from '../read-through.js';
import { readAciManifest } from './aci-manifest.js';
import { type AciNote, noteKeyOf, readAciNote, writeAciNote } from './aci-note.js';
import type { AciSource, FetchedAci } from './aci-source.js';
import { type AciOnDisk, findAci } from './appc-find.js';
import type { StoredAci } from './appc-graph.js';

/** At a file that its owner replaces again and again. */
const MAX_LOOKS = 4;

export interface AciFetchParts extends ReadThroughParts {
  readonly pool: WorkerPool;
  readonly source: AciSource;
  readonly limits: LayerLimits;
  readonly maxParallelLayers: number;
  /** A proven tar took the place of this layer's damaged one. */
  readonly onReplaced: (diffIds: LayerResult['diffId'][]) => Promise<void>;
}

export interface AciFetchContext {
  readonly cached: boolean;
  /** Takes what was found or fetched, before it is looked for. */
  readonly lease: Lease;
  /** Told of each image that left a note for others, which whoever ends the pull removes. */
  readonly onNoted: (request: AppcRequest) => void;
  /** Told how much memory a manifest will take, before it does; throws when all of the pull's take too much. */
  readonly weigh: (bytes: number) => void;
}

/** One image, and all who ask for it. Their requests are equal but for who asks and which labels were only filled in. */
export interface AskedAci {
  readonly requests: readonly [AppcRequest, ...AppcRequest[]];
  /** Bytes that one of them says it has. */
  readonly size?: number;
}

export interface FetchedImage {
  readonly of: AppcRequest;
  readonly aci: LoneAci;
}

/** Without what it depends on. */
type LoneAci = Omit<StoredAci, 'dependencies' | 'pinned'>;

export class AciFetch {
  readonly #parts: AciFetchParts;
  readonly #slots: Semaphore;

  constructor(parts: AciFetchParts) {
    this.#parts = parts;
    this.#slots = new Semaphore(parts.maxParallelLayers);
  }

  /** All of them, in their order; the first failure cancels the others, and is thrown when all have ended. */
  async fetchEach(
    asked: readonly AskedAci[],
    context: AciFetchContext,
    shared: SharedWork,
  ): Promise<readonly FetchedImage[]> {
    const found = new Map<AskedAci, FetchedImage>();
    await allOrNone(asked, shared, async (each, signal) => {
      const aci = await this.#slots.run(() => this.#fetchOne(each, context, { ...shared, signal }), signal);
      found.set(each, { of: each.requests[0], aci });
    });
    return asked.flatMap((each) => found.get(each) ?? []);
  }

  /**
   * One download for each image over all processes: who waited for another's finds it in the store, by its record, or by
   * the note of a pull that has yet to fetch what else it needs.
   */
  async #fetchOne(asked: AskedAci, context: AciFetchContext, shared: SharedWork): Promise<LoneAci> {
    const { content } = this.#parts;
    const { signal, onEvent } = shared;
    const [request] = asked.requests;
    const { cached, onNoted } = context;
    const reference = formatAppcRequest(request);
    // What an id names cannot change: it need not be asked for again.
    const mayKnow = cached || request.id !== undefined;
    const known = mayKnow ? await this.#known(request, context, shared) : undefined;
    if (known !== undefined) return known;
    onEvent({ type: 'resolve', reference });
    const onWait = (): void => onEvent({ type: 'layer-wait', layer: reference, reason: 'another-process' });
    await using ingest = await content.openIngest(noteKeyOf(request), { signal, onWait });
    try {
      const meanwhile = mayKnow ? await this.#knownMeanwhile(request, ingest.dataPath, context, shared) : undefined;
      const aci = meanwhile ?? (await this.#download(asked, context, shared));
      const { id, diffId, manifestDigest: manifest, size } = aci;
      await writeAciNote(ingest.dataPath, { lease: context.lease.id, id, diffId, manifest, size });
      onNoted(request);
      return aci;
    } catch (error) {
      // There is never more in it than a note, which is somebody else's or half written.
      await ingest.abort();
      throw error;
    }
  }

  async #knownMeanwhile(
    request: AppcRequest,
    notePath: string,
    context: AciFetchContext,
    shared: SharedWork,
  ): Promise<LoneAci | undefined> {
    const known = await this.#known(request, context, shared);
    if (known !== undefined) return known;
    const note = await readAciNote(notePath);
    return note === undefined || !this.#isHeld(note) ? undefined : this.#take(request, note, context, shared);
  }

  /** Whether the pull that left the note is still under way: what a dead or failed one knew may be old. */
  #isHeld({ lease, diffId }: AciNote): boolean {
    return this.#parts.leases.listLive().some(({ id, layers }) => id === lease && layers.includes(diffId));
  }

  /** The image itself; undefined when it is not here, or its tar or manifest is gone. */
  async #known(request: AppcRequest, context: AciFetchContext, shared: SharedWork): Promise<LoneAci | undefined> {
    const { metadata, content } = this.#parts;
    for await (const found of findAci(request, { metadata, content })) {
      const aci = await this.#take(request, found, context, shared);
      if (aci !== undefined) return aci;
    }
    return undefined;
  }

  /** Looks whether all of it is here, after the lease protects it. Rejects when it is, and is another image. */
  async #take(
    request: AppcRequest,
    { id, diffId, manifest: manifestDigest, size }: AciOnDisk,
    { lease, weigh }: AciFetchContext,
    { signal, onEvent }: SharedWork,
  ): Promise<LoneAci | undefined> {
    const { lock, layers, content } = this.#parts;
    await lease.add({ layers: [diffId], blobs: [manifestDigest] });
    {
      using _shared = await lock.shared({ signal });
      if (!(await layers.has(diffId)) || !(await isSound(content, manifestDigest))) return undefined;
    }
    const reference = formatAppcRequest(request);
    const manifest = parseWeighed(await content.read(manifestDigest), reference, weigh);
    const mismatch = matchesRequest(manifest, id, request);
    // An id has one manifest, wherever it comes from; a name may mean another image now.
    if (mismatch !== undefined && request.id !== undefined) throw anotherImage(reference, `the image ${id}`, mismatch);
    if (mismatch !== undefined) return undefined;
    const platform = platformOfRequest(request);
    onEvent({ type: 'resolved', reference, digest: digestOfImageId(id), platform, cached: true });
    return { reference, platform, id, manifest, manifestDigest, diffId, size };
  }

  async #download(
    asked: AskedAci,
    { lease, weigh }: AciFetchContext,
    { signal, onEvent }: SharedWork,
  ): Promise<LoneAci> {
    const { layers, lock, content } = this.#parts;
    const [request] = asked.requests;
    const reference = formatAppcRequest(request);
    await using staging = await layers.stage();
    let told = false;
    const tell: OnEvent = (event) => {
      told ||= event.type === 'layer-start';
      onEvent(event);
    };
    const shared = { signal, onEvent: tell };
    const outDir = staging.outDir(noteKeyOf(request));
    let fetched = await this.#fetchFrom(asked, staging.path, shared);
    if (!told) onEvent({ type: 'layer-start', layer: reference, size: fetched.size, resumedFrom: 0 });
    let result: LayerResult | undefined;
    for (let looks = 1; result === undefined; looks++) {
      const before = fetched.borrowed ? await identityOfFile(fetched.path) : undefined;
      try {
        result = await this.#store(reference, fetched, outDir, { signal, onEvent });
      } catch (error) {
        if (signal.aborted || !fetched.borrowed || looks === MAX_LOOKS) throw error;
        // Its owner has put another in its place since we looked, or between our looks at its length and at what it is.
        const found = await this.#fetchFrom(asked, staging.path, shared);
        if (found.size === fetched.size && (await identityOfFile(found.path)) === before) throw error;
        fetched = found;
      }
    }
    refuseOtherSize(asked, fetched, result.tarSize);
    const id = imageIdOf(parseDigest(`sha512:${result.tarSha512 ?? ''}`));
    refuseOtherId(request, id);
    const bytes = await readAciManifest(result, reference);
    const manifest = parseWeighed(bytes, reference, weigh);
    const mismatch = matchesRequest(manifest, id, request);
    if (mismatch !== undefined) throw anotherImage(reference, fetched.from, mismatch);
    const manifestDigest = digestOf(bytes);
    const { diffId, size, tarSize, entries, received, ms } = result;
    await lease.add({ layers: [diffId], blobs: [manifestDigest] });
    // A prune that is under way may not have seen the lease.
    (await lock.shared({ signal })).release();
    await content.put(bytes, manifestDigest);
    let replaced: Awaited<ReturnType<typeof layers.adopt>>;
    {
      using _shared = await lock.shared({ signal });
      replaced = await layers.adopt([result]);
    }
    await this.#parts.onReplaced([...replaced]);
    const platform = platformOfRequest(request);
    onEvent({ type: 'resolved', reference, digest: digestOfImageId(id), platform, cached: false });
    onEvent({ type: 'layer-done', layer: reference, diffId, received, written: tarSize, entries, ms });
    return { reference, platform, id, manifest, manifestDigest, diffId, size };
  }

  /** Where one who asks may not send us, another may. */
  async #fetchFrom({ requests }: AskedAci, directory: string, shared: SharedWork): Promise<FetchedAci> {
    let first: unknown;
    for (const request of requests) {
      try {
        return await this.#parts.source.fetch(request, directory, shared);
      } catch (error) {
        first ??= error;
        if (!isLarderError(error, 'LARDER_POLICY_DENIED')) throw error;
      }
    }
    throw first;
  }

  /** The one pass: inflate, both hashes, index, tar. */
  async #store(
    reference: string,
    { path, size, borrowed }: FetchedAci,
    outDir: string,
    { signal, onEvent }: SharedWork,
  ): Promise<LayerResult> {
    const source = { kind: 'file', path, offset: 0 } as const;
    const job: LayerJob = { size, source, outDir, limits: this.#parts.limits, tarSha512: true };
    const tell = progressOf(reference, borrowed ? undefined : size, onEvent);
    return this.#parts.pool.run<LayerResult>('layer', job, {
      signal,
      onMessage: (message) => tell(message as LayerProgress),
    });
  }
}

/** A path of a whitelist takes more memory than its text. */
const PATH_WEIGHT = 100;

function parseWeighed(bytes: Uint8Array, reference: string, weigh: AciFetchContext['weigh']): AppcManifest {
  weigh(bytes.byteLength);
  const manifest = parseAppcManifest(bytes, reference);
  weigh(PATH_WEIGHT * manifest.pathWhitelist.length);
  return manifest;
}

/** What was downloaded before is not received a second time. */
function progressOf(layer: string, downloaded: number | undefined, onEvent: OnEvent): (at: LayerProgress) => void {
  return ({ received, written }) =>
    onEvent({ type: 'layer-progress', layer, received: downloaded ?? received, written });
}

function refuseOtherId({ id: wanted, name }: AppcRequest, found: AppcImageId): void {
  if (wanted === undefined || wanted === found) return;
  throw new LarderError(
    'LARDER_DIGEST_MISMATCH',
    `verify Appc image ${name}: its id is ${found} instead of ${wanted}`,
    {
      details: { expected: parseImageId(wanted), found },
    },
  );
}

/** The specification does not say of which form it is the size: of the file, or of the tar in it. */
function refuseOtherSize({ requests: [request], size }: AskedAci, fetched: FetchedAci, tarSize: number): void {
  if (size === undefined || size === fetched.size || size === tarSize) return;
  throw new LarderError(
    'LARDER_SIZE_MISMATCH',
    `verify Appc image ${request.name}: ${fetched.from} has ${fetched.size} bytes, and ${request.askedBy ?? 'who asks'} says ${size}`,
    { details: { expected: size, found: fetched.size } },
  );
}

function anotherImage(reference: string, what: string, mismatch: string): LarderError {
  return new LarderError('LARDER_MANIFEST_INVALID', `pull ${reference}: ${what} is another image: ${mismatch}`, {
    hint: 'check the name, the labels and the id that are asked for',
  });
}
