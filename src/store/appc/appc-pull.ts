/**
 * One pull of an Appc image, in the order that makes it a commit:
 *
 *     lease -> for each image of the graph: discover, fetch, verify, adopt -> order -> merge -> records
 *
 * Every image on the way is fetched once and gets a record of its own, dependencies before dependents (I3): what one
 * image depends on, others find in the store.
 */
import type { SharedWork } from '../../concurrency.js';
import { LarderError, throwIfAborted } from '../../errors.js';
import type { MergedImages } from '../../layers/merged-images.js';
import type { History } from '../../metadata/history.js';
import type { Lease } from '../../metadata/leases.js';
import { blobsOf, type ImageRecord, stackOf } from '../../metadata/records.js';
import { type AppcDependency, dependencyRequest, matchesRequest } from '../../spec/appc-manifest.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../../spec/appc-name.js';
import { digestOfImageId } from '../../spec/appc-types.js';
import { digestOf } from '../../spec/digest.js';
import { rootfsViewOf } from '../../spec/stack.js';
import { extendLeases } from '../read-through.js';
import { AciFetch, type AciFetchParts, type AskedAci } from './aci-fetch.js';
import { noteKeyOf } from './aci-note.js';
import { type AppcDocuments, appcDocumentsOf } from './appc-document.js';
import { type AciGraph, type StackedAci, type StoredAci, stackOfAci } from './appc-graph.js';

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
/** Sites that are asked on behalf of different images where one may not send us somewhere. */
const MAX_SITES = 8;
const MAX_WHITELIST_WORK = 4_000_000;
/** Of all manifests of one pull, which are held until the last one is here. */
const MAX_MANIFESTS_WEIGHT = 64 * 1024 * 1024;
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
      await lease.release();
      // They count for nothing now. Who has one open at this moment removes his own.
      for (const request of pull.noted) await this.#parts.content.removeIngest(noteKeyOf(request));
    }
  }

  /** The image and all that it depends on, each fetched once; several at a time. */
  async #fetchAll({ request, cached, lease, noted }: Pull, shared: SharedWork): Promise<AciGraph> {
    const doing = `pull ${formatAppcRequest(request)}`;
    const graph = new Map<string, StoredAci>();
    const edges: Asked[] = [];
    const wanted = new Map<string, AskedAci>([[keyOf(request), { requests: [request] }]]);
    const context = { cached, lease, onNoted: (image: AppcRequest) => noted.push(image), weigh: scales(doing) };
    while (wanted.size > 0) {
      for (const { of, aci } of await this.#fetch.fetchEach(pinnedFirst(wanted), context, shared)) {
        const asked = aci.manifest.dependencies.map((dependency) => askedBy(of, dependency));
        graph.set(keyOf(of), { ...aci, pinned: of.id !== undefined, dependencies: asked.map(({ key }) => key) });
        wanted.delete(keyOf(of));
        edges.push(...asked);
        for (const each of asked) if (!graph.has(each.key)) wanted.set(each.key, together(wanted.get(each.key), each));
      }
      answerByPinned(wanted, graph);
      if (graph.size + wanted.size > MAX_IMAGES) {
        throw new LarderError('LARDER_LAYER_LIMIT', `${doing}: more than ${MAX_IMAGES} images depend on each other`);
      }
      throwIfAborted(shared.signal, doing);
    }
    for (const edge of edges) requireMatch(edge, graph, doing);
    refuseLongWhitelists(graph, edges.length, doing);
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
    const { reference, platform, createdAtMs: atMs } = record;
    const digest = digestOfImageId(top.id);
    await history.add({ reference, platform, digest, imageId: top.id, how: 'resolved', atMs });
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
  readonly key: string;
  readonly request: AppcRequest;
  readonly size: number | undefined;
}

function askedBy(parent: AppcRequest, { size, ...dependency }: AppcDependency): Asked {
  const request = dependencyRequest(dependency, parent);
  return { key: keyOf(request), request, size };
}

/** Adds up, and refuses what is too much. */
function scales(doing: string): (bytes: number) => void {
  let sum = 0;
  return (bytes) => {
    sum += bytes;
    if (sum > MAX_MANIFESTS_WEIGHT)
      throw new LarderError('LARDER_LAYER_LIMIT', `${doing}: the manifests and whitelists of its images are too large`);
  };
}

/** Those that an id names go before names, which they may answer. */
function pinnedFirst(wanted: ReadonlyMap<string, AskedAci>): AskedAci[] {
  const all = [...wanted.values()];
  const pinned = all.filter(({ requests: [request] }) => request.id !== undefined);
  return pinned.length > 0 ? pinned : all;
}

/** A name is answered by an image of the graph that somebody asked for by its id. */
function answerByPinned(wanted: Map<string, AskedAci>, graph: Map<string, StoredAci>): void {
  const pinned = [...graph.values()].filter((aci) => aci.pinned);
  for (const [key, { requests }] of wanted) {
    const [request] = requests;
    const platform = platformOfRequest(request);
    const answer = pinned.find(
      (aci) => aci.platform === platform && matchesRequest(aci.manifest, aci.id, request) === undefined,
    );
    if (answer === undefined) continue;
    graph.set(key, answer);
    wanted.delete(key);
  }
}

/** One image with all who ask for it, as far as it matters who does: their sites may send us to different places. */
function together(before: AskedAci | undefined, { request, size: wanted }: Asked): AskedAci {
  const size = before?.size ?? wanted;
  const [first = request, ...others] = before?.requests ?? [];
  const siteOf = (each: AppcRequest): string | undefined => each.askedBy?.split('/', 1)[0];
  const isNew = others.length + 1 < MAX_SITES && [first, ...others].every((each) => siteOf(each) !== siteOf(request));
  return { requests: [first, ...others, ...(isNew ? [request] : [])], ...(size === undefined ? {} : { size }) };
}

/** Requests of one key differ in which labels were only filled in, so what one of them takes another may not. */
function requireMatch({ key, request }: Asked, graph: AciGraph, doing: string): void {
  const aci = graph.get(key);
  const mismatch = aci === undefined ? undefined : matchesRequest(aci.manifest, aci.id, request);
  if (mismatch === undefined) return;
  throw new LarderError(
    'LARDER_MANIFEST_INVALID',
    `${doing}: ${formatAppcRequest(request)} is not what ${request.askedBy ?? 'it'} depends on: ${mismatch}`,
    { hint: 'the labels of a dependency must be those of the image that it names' },
  );
}

/** Each whitelist is compared along each dependency below it. */
function refuseLongWhitelists(graph: AciGraph, edges: number, doing: string): void {
  let paths = 0;
  for (const { manifest } of graph.values()) paths = Math.max(paths, manifest.pathWhitelist.length);
  if (paths * edges <= MAX_WHITELIST_WORK) return;
  throw new LarderError(
    'LARDER_LAYER_LIMIT',
    `${doing}: a whitelist of ${paths} paths over ${edges} dependencies: more than this store works out`,
  );
}

/** Equal for equal requests. */
export function keyOf(request: AppcRequest): string {
  return `${formatAppcRequest(request)} ${platformOfRequest(request)}`;
}
