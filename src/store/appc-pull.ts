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
import { dependencyRequest } from '../spec/appc-manifest.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../spec/appc-name.js';
import { digestOfImageId } from '../spec/appc-types.js';
import { digestOf } from '../spec/digest.js';
import { rootfsViewOf } from '../spec/stack.js';
import { AciFetch, type AciFetchParts } from './aci-fetch.js';
import { type AppcDocuments, appcDocumentsOf } from './appc-document.js';
import { type StackedAci, type StoredAci, stackOfAci } from './appc-graph.js';
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

export class AppcPull {
  readonly #parts: AppcPullParts;
  readonly #fetch: AciFetch;

  constructor(parts: AppcPullParts) {
    this.#parts = parts;
    this.#fetch = new AciFetch(parts);
  }

  async run(wanted: WantedAci, waiting: ReadonlySet<Lease>, shared: SharedWork): Promise<ImageRecord> {
    const lease = await this.#parts.leases.create();
    try {
      const root = keyOf(wanted.request);
      const graph = await this.#fetchAll(wanted, lease, shared);
      let record: ImageRecord | undefined;
      // Dependencies first: a record implies those that it is made of.
      for (const { aci } of stackOfAci(graph, root)) {
        const key = `${aci.reference} ${aci.platform}`;
        record = await this.#commit(graph, key, lease, { ...wanted, last: key === root }, shared);
      }
      if (record === undefined) throw new LarderError('LARDER_INTERNAL', `pull ${root}: it has no images`);
      await extendLeases(waiting, record);
      await this.#parts.layers.sweep();
      return record;
    } finally {
      await lease.release();
    }
  }

  /** The image and all that it depends on, each fetched once; several at a time. */
  async #fetchAll(
    { request, cached }: WantedAci,
    lease: Lease,
    shared: SharedWork,
  ): Promise<ReadonlyMap<string, StoredAci>> {
    const graph = new Map<string, StoredAci>();
    let next: ReadonlyMap<string, AppcRequest> = new Map([[keyOf(request), request]]);
    while (next.size > 0) {
      const found = await this.#fetch.fetchEach([...next.values()], { cached, lease }, shared);
      const wanted = new Map<string, AppcRequest>();
      for (const { of, aci } of found) {
        const dependencies = aci.manifest.dependencies.map((dependency) => dependencyRequest(dependency, of));
        graph.set(keyOf(of), { ...aci, dependencies: dependencies.map(keyOf) });
        for (const dependency of dependencies) wanted.set(keyOf(dependency), dependency);
      }
      next = new Map([...wanted].filter(([key]) => !graph.has(key)));
      if (graph.size + next.size > MAX_IMAGES) {
        throw new LarderError(
          'LARDER_LAYER_LIMIT',
          `pull ${formatAppcRequest(request)}: more than ${MAX_IMAGES} images depend on each other`,
        );
      }
      throwIfAborted(shared.signal, `pull ${formatAppcRequest(request)}`);
    }
    return graph;
  }

  /** The record of one image of the graph. The merge proves that its stack makes a tree at all, so it comes before. */
  async #commit(
    graph: ReadonlyMap<string, StoredAci>,
    key: string,
    lease: Lease,
    { backend, last }: { readonly backend: string; readonly last: boolean },
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
    if (there?.config !== record.config) {
      if (last && usesMergedImage(backend)) await merged.ensure(stackOf(record), { signal, onEvent });
      else await merged.validate(stackOf(record), { signal, onEvent });
    }
    using _shared = await lock.shared({ signal });
    await metadata.put(record);
    await history.add({ reference: record.reference, digest: record.digest, atMs: record.createdAtMs });
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

/** Equal for equal requests. */
export function keyOf(request: AppcRequest): string {
  return `${formatAppcRequest(request)} ${platformOfRequest(request)}`;
}
