/**
 * One pull of an Appc image, in the order that makes it a commit:
 *
 *     lease -> for each image of the graph: discover, fetch, verify, adopt -> order -> merge -> records
 *
 * Every image on the way is fetched once and gets a record of its own, dependencies before dependents (I3): what one
 * image depends on, others find in the store.
 */
import type { SharedWork } from '../concurrency.js';
import { LarderError, throwIfAborted } from '../errors.js';
import type { MergedImages } from '../layers/merged-images.js';
import type { History } from '../metadata/history.js';
import type { Lease } from '../metadata/leases.js';
import { blobsOf, type ImageRecord, stackOf } from '../metadata/records.js';
import { dependencyRequest, matchesRequest } from '../spec/appc-manifest.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../spec/appc-name.js';
import { digestOfImageId } from '../spec/appc-types.js';
import { digestOf } from '../spec/digest.js';
import { rootfsViewOf } from '../spec/stack.js';
import { AciFetch, type AciFetchParts, type AskedAci } from './aci-fetch.js';
import { noteKeyOf } from './aci-note.js';
import { type AppcDocuments, appcDocumentsOf } from './appc-document.js';
import { type AciGraph, type StackedAci, type StoredAci, stackOfAci } from './appc-graph.js';
import { extendLeases } from './read-through.js';

export interface AppcPullParts extends AciFetchParts {
  readonly history: History;
  readonly merged: MergedImages;
  /** Whether `backend` shows images through the merged EROFS image, which is then made as a part of the pull. */
  readonly usesMergedImage: (backend: string) => boolean;
}

export interface WantedAci {
  readonly request: AppcRequest;
  readonly cached: boolean;
  readonly backend: string;
}

/** More is no image but an attack: each costs a request. */
const MAX_IMAGES = 512;
export const ACI_MEDIA_TYPE = 'application/vnd.appc.aci';

/** What one pull goes by. */
interface Pull extends WantedAci {
  readonly lease: Lease;
  /** Under which other processes find what it has fetched so far. */
  readonly noted: AppcRequest[];
}

export class AppcPull {
  readonly #parts: AppcPullParts;
  readonly #fetch: AciFetch;

  constructor(parts: AppcPullParts) {
    this.#parts = parts;
    this.#fetch = new AciFetch(parts);
  }

  async run(wanted: WantedAci, waiting: ReadonlySet<Lease>, shared: SharedWork): Promise<ImageRecord> {
    const lease = await this.#parts.leases.create();
    const pull: Pull = { ...wanted, lease, noted: [] };
    try {
      const root = keyOf(wanted.request);
      const graph = await this.#fetchAll(pull, shared);
      let record: ImageRecord | undefined;
      // Dependencies first: a record implies those that it is made of.
      for (const { aci } of stackOfAci(graph, root)) {
        const key = `${aci.reference} ${aci.platform}`;
        record = await this.#commit(graph, key, pull, key === root, shared);
      }
      if (record === undefined) throw new LarderError('LARDER_INTERNAL', `pull ${root}: it has no images`);
      await extendLeases(waiting, record);
      await this.#parts.layers.sweep();
      return record;
    } finally {
      // Who has one open at this moment has read it, and removes his own.
      for (const request of pull.noted) await this.#parts.content.removeIngest(noteKeyOf(request));
      await lease.release();
    }
  }

  /** The image and all that it depends on, each fetched once; several at a time. */
  async #fetchAll({ request, cached, lease, noted }: Pull, shared: SharedWork): Promise<AciGraph> {
    const doing = `pull ${formatAppcRequest(request)}`;
    const graph = new Map<string, StoredAci>();
    const edges: Asked[] = [];
    let next = new Map<string, AskedAci>([[keyOf(request), { requests: [request] }]]);
    while (next.size > 0) {
      const context = { cached, lease, onNoted: (image: AppcRequest) => noted.push(image) };
      for (const { of, aci } of await this.#fetch.fetchEach(pinnedFirst(next), context, shared)) {
        const dependencies = aci.manifest.dependencies.map(({ size, ...dependency }) => ({
          request: dependencyRequest(dependency, of),
          size,
        }));
        graph.set(keyOf(of), {
          ...aci,
          pinned: of.id !== undefined,
          dependencies: dependencies.map((each) => keyOf(each.request)),
        });
        edges.push(...dependencies);
      }
      next = together(edges.filter((each) => !isKnown(each.request, graph)));
      if (graph.size + next.size > MAX_IMAGES) {
        throw new LarderError('LARDER_LAYER_LIMIT', `${doing}: more than ${MAX_IMAGES} images depend on each other`);
      }
      throwIfAborted(shared.signal, doing);
    }
    for (const { request: dependency } of edges) requireMatch(dependency, graph, doing);
    return graph;
  }

  /** The record of one image of the graph. The merge proves that its stack makes a tree at all, so it comes before. */
  async #commit(
    graph: AciGraph,
    key: string,
    { lease, backend }: Pull,
    last: boolean,
    { signal, onEvent }: SharedWork,
  ): Promise<ImageRecord> {
    const { metadata, content, lock, history, merged, usesMergedImage } = this.#parts;
    const stack = stackOfAci(graph, key);
    const documents = appcDocumentsOf(stack);
    const top = stack.at(-1)?.aci;
    if (top === undefined) throw new LarderError('LARDER_INTERNAL', `pull ${key}: it has no images`);
    const record = recordOf(top, stack, documents);
    await lease.add({ blobs: blobsOf(record) });
    // A prune that is under way may not have seen the lease.
    (await lock.shared({ signal })).release();
    for (const bytes of [documents.document, ...documents.whitelists]) await content.put(bytes);
    const there = metadata.get(record.reference, true, record.platform);
    if (last && usesMergedImage(backend)) await merged.ensure(stackOf(record), { signal, onEvent });
    else if (there?.config !== record.config) await merged.validate(stackOf(record), { signal, onEvent });
    using _shared = await lock.shared({ signal });
    await metadata.put(record);
    // An image can change and its manifest stay: the id is what tells.
    await history.add({ reference: record.reference, digest: digestOfImageId(top.id), atMs: record.createdAtMs });
    if (last) onEvent({ type: 'commit', reference: record.reference, imageId: top.id });
    return record;
  }
}

function recordOf(
  { reference, platform, manifestDigest }: StoredAci,
  stack: readonly StackedAci[],
  { members, document, whitelists }: AppcDocuments,
): ImageRecord {
  const nowMs = Date.now();
  const manifests = members.map(({ manifest }) => manifest).filter((manifest) => manifest !== manifestDigest);
  return {
    type: 'appc',
    reference,
    platform,
    digest: manifestDigest,
    manifest: manifestDigest,
    config: digestOf(document),
    extraBlobs: [...new Set([...manifests, ...whitelists.map((bytes) => digestOf(bytes))])],
    layers: stack.map(({ aci }, i) => ({
      diffId: aci.diffId,
      digest: digestOfImageId(aci.id),
      size: aci.size,
      mediaType: ACI_MEDIA_TYPE,
      view: members[i]?.view ?? rootfsViewOf(),
    })),
    createdAtMs: nowMs,
    lastUsedAtMs: nowMs,
  };
}

interface Asked {
  readonly request: AppcRequest;
  readonly size: number | undefined;
}

/** Those that an id names go before names, which they may answer. */
function pinnedFirst(next: ReadonlyMap<string, AskedAci>): AskedAci[] {
  const all = [...next.values()];
  const pinned = all.filter(({ requests: [request] }) => request.id !== undefined);
  return pinned.length > 0 ? pinned : all;
}

/** In the graph already, or answered by an image there that somebody asked for by its id: then it is there from now on. */
function isKnown(request: AppcRequest, graph: Map<string, StoredAci>): boolean {
  const key = keyOf(request);
  if (graph.has(key)) return true;
  const platform = platformOfRequest(request);
  for (const aci of graph.values()) {
    if (!aci.pinned || aci.platform !== platform || matchesRequest(aci.manifest, aci.id, request) !== undefined)
      continue;
    graph.set(key, aci);
    return true;
  }
  return false;
}

/** Each image once, with all who ask for it. */
function together(asked: readonly Asked[]): Map<string, AskedAci> {
  const all = new Map<string, AskedAci>();
  for (const { request, size: wanted } of asked) {
    const before = all.get(keyOf(request));
    const size = before?.size ?? wanted;
    const [first = request, ...others] = before?.requests ?? [];
    const requests = before === undefined ? ([request] as const) : ([first, ...others, request] as const);
    all.set(keyOf(request), { requests, ...(size === undefined ? {} : { size }) });
  }
  return all;
}

/** Requests of one key differ in which labels were only filled in, so what one of them takes another may not. */
function requireMatch(request: AppcRequest, graph: AciGraph, doing: string): void {
  const aci = graph.get(keyOf(request));
  const mismatch = aci === undefined ? undefined : matchesRequest(aci.manifest, aci.id, request);
  if (mismatch === undefined) return;
  throw new LarderError(
    'LARDER_MANIFEST_INVALID',
    `${doing}: ${formatAppcRequest(request)} is not what ${request.askedBy ?? 'it'} depends on: ${mismatch}`,
    { hint: 'the labels of a dependency must be those of the image that it names' },
  );
}

/** Equal for equal requests. */
export function keyOf(request: AppcRequest): string {
  return `${formatAppcRequest(request)} ${platformOfRequest(request)}`;
}
