/**
 * ACIs one by one: found in the store, or discovered, downloaded, verified and adopted as a layer. The image id is the
 * SHA-512 of the tar, computed in the one pass that stores it; nothing is adopted before id, layout, manifest, name and
 * labels are what was asked for.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { allOrNone, Semaphore, type SharedWork } from '../concurrency.js';
import { LarderError } from '../errors.js';
import type { LayerJob, LayerProgress, LayerResult } from '../layers/layer-task.js';
import type { Lease } from '../metadata/leases.js';
import type { ImageRecord } from '../metadata/records.js';
import { MAX_APPC_MANIFEST_BYTES, matchesRequest, parseAppcManifest } from '../spec/appc-manifest.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../spec/appc-name.js';
import { type AppcImageId, digestOfImageId, imageIdOf, parseImageId } from '../spec/appc-types.js';
import { type Digest, digestOf, parseDigest } from '../spec/digest.js';
import type { LayerLimits } from '../tar/entry.js';
import { decodeLayerIndex } from '../tree/layer-index.js';
import { aciFilesOf } from '../tree/rootfs-view.js';
import type { WorkerPool } from '../workers/pool.js';
import type { AciSource } from './aci-source.js';
import type { StoredAci } from './appc-graph.js';
import { isSound, type ReadThroughParts } from './read-through.js';

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
}

export interface FetchedImage {
  readonly of: AppcRequest;
  readonly aci: Omit<StoredAci, 'dependencies'>;
}

export class AciFetch {
  readonly #parts: AciFetchParts;
  readonly #slots: Semaphore;

  constructor(parts: AciFetchParts) {
    this.#parts = parts;
    this.#slots = new Semaphore(parts.maxParallelLayers);
  }

  /** All of them; the first failure cancels the others, and is thrown when all have ended. */
  async fetchEach(
    requests: readonly AppcRequest[],
    context: AciFetchContext,
    shared: SharedWork,
  ): Promise<readonly FetchedImage[]> {
    const found: FetchedImage[] = [];
    await allOrNone(requests, shared, async (of, signal) => {
      const aci = await this.#slots.run(() => this.#fetchOne(of, context, { ...shared, signal }), signal);
      found.push({ of, aci });
    });
    return found;
  }

  /** One download for each image over all processes: who waited for another's finds it in the store. */
  async #fetchOne(
    request: AppcRequest,
    { cached, lease }: AciFetchContext,
    shared: SharedWork,
  ): Promise<Omit<StoredAci, 'dependencies'>> {
    const { content } = this.#parts;
    const { signal, onEvent } = shared;
    const reference = formatAppcRequest(request);
    // What an id names cannot change: it need not be asked for again.
    const mayKnow = cached || request.id !== undefined;
    const known = mayKnow ? await this.#known(request, lease, shared) : undefined;
    if (known !== undefined) return known;
    onEvent({ type: 'resolve', reference });
    const key = digestOf(Buffer.from(`${reference} ${platformOfRequest(request)}`));
    const onWait = (): void => onEvent({ type: 'layer-wait', layer: reference, reason: 'another-process' });
    await using ingest = await content.openIngest(key, { signal, onWait });
    const meanwhile = mayKnow ? await this.#known(request, lease, shared) : undefined;
    if (meanwhile !== undefined) return meanwhile;
    const aci = await this.#download(request, key, lease, shared);
    await ingest.finish();
    return aci;
  }

  /** The image itself, without what it depends on; undefined when it is not here, or its tar or manifest is gone. */
  async #known(
    request: AppcRequest,
    lease: Lease,
    { signal, onEvent }: SharedWork,
  ): Promise<Omit<StoredAci, 'dependencies'> | undefined> {
    const { lock, layers, content } = this.#parts;
    const record = this.#recordFor(request);
    const layer = record?.layers.at(-1);
    if (record === undefined || layer === undefined) return undefined;
    await lease.add({ layers: [layer.diffId], blobs: [record.manifest] });
    {
      using _shared = await lock.shared({ signal });
      if (!(await layers.has(layer.diffId)) || !(await isSound(content, record.manifest))) return undefined;
    }
    const reference = formatAppcRequest(request);
    const manifest = parseAppcManifest(await content.read(record.manifest), reference);
    const id = imageIdOf(layer.digest);
    if (matchesRequest(manifest, id, request) !== undefined) return undefined;
    const platform = platformOfRequest(request);
    onEvent({ type: 'resolved', reference, digest: layer.digest, platform, cached: true });
    const { diffId, size } = layer;
    return { reference, platform, id, manifest, manifestDigest: record.manifest, diffId, size };
  }

  /** A record of this request, or for an id one of any name under which the image came. */
  #recordFor(request: AppcRequest): ImageRecord | undefined {
    const { metadata } = this.#parts;
    const { id } = request;
    if (id === undefined) return metadata.get(formatAppcRequest(request), true, platformOfRequest(request));
    const digest = digestOfImageId(id);
    for (const record of metadata.list()) if (record.layers.at(-1)?.digest === digest) return record;
    return undefined;
  }

  async #download(
    request: AppcRequest,
    key: Digest,
    lease: Lease,
    { signal, onEvent }: SharedWork,
  ): Promise<Omit<StoredAci, 'dependencies'>> {
    const { source, layers, lock, content } = this.#parts;
    const reference = formatAppcRequest(request);
    await using staging = await layers.stage();
    const fetched = await source.fetch(request, staging.path, { signal, onEvent });
    const result = await this.#store(reference, fetched, staging.outDir(key), { signal, onEvent });
    const id = imageIdOf(parseDigest(`sha512:${result.tarSha512 ?? ''}`));
    refuseOtherId(request, id);
    const bytes = await readManifest(result, reference);
    const manifest = parseAppcManifest(bytes, reference);
    const mismatch = matchesRequest(manifest, id, request);
    if (mismatch !== undefined) {
      throw new LarderError(
        'LARDER_MANIFEST_INVALID',
        `pull ${reference}: ${fetched.from} is another image: ${mismatch}`,
      );
    }
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

  /** The one pass: inflate, both hashes, index, tar. */
  async #store(
    reference: string,
    { path, size }: { readonly path: string; readonly size: number },
    outDir: string,
    { signal, onEvent }: SharedWork,
  ): Promise<LayerResult> {
    const source = { kind: 'file', path, offset: 0 } as const;
    const job: LayerJob = { size, source, outDir, limits: this.#parts.limits, tarSha512: true };
    onEvent({ type: 'layer-start', layer: reference, size, resumedFrom: 0 });
    return this.#parts.pool.run<LayerResult>('layer', job, {
      signal,
      onMessage: (message) => {
        const { received, written } = message as LayerProgress;
        onEvent({ type: 'layer-progress', layer: reference, received, written });
      },
    });
  }
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

/** From the tar that was just written, at the place that its index names. */
async function readManifest(result: LayerResult, reference: string): Promise<Uint8Array> {
  const index = decodeLayerIndex(await readWhole(result.index.path, 0, result.index.size));
  const { manifestEntry } = aciFilesOf(index);
  const size = index.size[manifestEntry] ?? 0;
  if (size > MAX_APPC_MANIFEST_BYTES || index.sparse(manifestEntry) !== undefined) {
    throw new LarderError('LARDER_LAYER_INVALID', `pull ${reference}: its manifest has ${size} bytes or is sparse`);
  }
  const inExtra = index.inExtra(manifestEntry);
  const path = inExtra ? (result.extra?.path ?? '') : join(result.outDir, 'layer', 'layer.tar');
  return readWhole(path, index.offset[manifestEntry] ?? 0, size);
}

async function readWhole(path: string, offset: number, size: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(size), 0, size, offset);
    if (bytesRead === size) return buffer;
    throw new LarderError('LARDER_INTERNAL', `read ${path}: ${bytesRead} of ${size} bytes`);
  } finally {
    await file.close();
  }
}
