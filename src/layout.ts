/**
 * ▸ Where everything lies under a store's root. Pure: it builds paths and touches nothing. A path is only ever built
 * from parsed digests and ids, so nothing that a registry or an image says can name a place on the host.
 *
 *     <root>/                        0700
 *       format                       the store's format version
 *       lock, gate                   the store lock
 *       metadata/                    the database and its writer lock; names/: what its image records say, once more
 *       handles/<id>                 one lock file per open store handle
 *       hosts/<hash>                 what processes tell each other of a registry; advice, gone any time
 *       pulls/<handle>.<id>          what a pull that is under way tells, for other processes; nothing depends on it
 *       blobs/<algorithm>/<hex>      manifests, image indexes, configs, as received                          (I1)
 *       layers/sha256/<DiffID>/      layer.tar and nothing else; appears only by rename                      (I2)
 *       derived/<format>/            all rebuildable from layers/ and blobs/                                 (I10)
 *         layers/<DiffID>/           index, layer.extra
 *         merged/<merged key>.erofs  one image's metadata for the kernel
 *         chains/<ChainID>/          one layer as an overlay directory
 *       ingest/<algorithm>-<hex>/    a download under way: data, lock                                        (I6)
 *       staging/<id>/                one pull's workbench                                                    (I6)
 *       gc/                          renamed here under the lock, deleted after it                           (I6, I8)
 *       mounts/<merged key>          where an image's one EROFS mount is attached; <merged key>.lock
 *       containers/<id>/             rootfs and what its backend needs; <id>.lock. A nested container's <id> is
 *                                    parent+child: no container lies in another one's directory
 *         volumes/<name>/            the same for each of its image volumes
 */
import { basename, dirname, join } from 'node:path';
import { type ContainerId, directoryNameOf } from './spec/container-id.js';
import { algorithmOf, type ChainId, type DiffId, type Digest, hexOf, parseDiffId } from './spec/digest.js';
import { parseLayerView, type StackLayer, stackLayer } from './spec/stack.js';
import { DERIVED_FORMAT } from './tree/derived-format.js';

/** Version of what cannot be rebuilt: metadata/, blobs/, layers/. */
export const STORE_FORMAT = 1;
export { DERIVED_FORMAT };

export class Layout {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  get format(): string {
    return join(this.root, 'format');
  }
  get lock(): string {
    return join(this.root, 'lock');
  }
  get gate(): string {
    return join(this.root, 'gate');
  }
  get metadata(): string {
    return join(this.root, 'metadata');
  }
  get database(): string {
    return join(this.root, 'metadata', 'larder.db');
  }
  get handles(): string {
    return join(this.root, 'handles');
  }
  get hosts(): string {
    return join(this.root, 'hosts');
  }
  /** Under the digest of its name. */
  host(name: Digest): string {
    return join(this.hosts, hexOf(name));
  }
  get pulls(): string {
    return join(this.root, 'pulls');
  }
  get blobs(): string {
    return join(this.root, 'blobs');
  }
  blob(digest: Digest): string {
    return join(this.root, 'blobs', algorithmOf(digest), hexOf(digest));
  }
  get layers(): string {
    return join(this.root, 'layers', 'sha256');
  }
  /** Where a layer's tar lies. */
  layer(diffId: DiffId): string {
    return join(this.layers, hexOf(diffId));
  }
  /**
   * The *layer path*: what `ImageInfo.layers` lists and backends receive: the layer's directory, and below it the view
   * when there is one (`…/<DiffID>/rootfs`), as a name only: nothing lies there.
   */
  layerPath({ diffId, view }: StackLayer): string {
    return view === undefined ? this.layer(diffId) : join(this.layer(diffId), view);
  }
  layerTar(diffId: DiffId): string {
    return join(this.layer(diffId), 'layer.tar');
  }
  get derived(): string {
    return join(this.root, 'derived', String(DERIVED_FORMAT));
  }
  derivedLayer(diffId: DiffId): string {
    return join(this.derived, 'layers', hexOf(diffId));
  }
  layerIndex(diffId: DiffId): string {
    return join(this.derivedLayer(diffId), 'index');
  }
  layerExtra(diffId: DiffId): string {
    return join(this.derivedLayer(diffId), 'layer.extra');
  }
  merged(mergedKey: string): string {
    return join(this.derived, 'merged', `${mergedKey}.erofs`);
  }
  chain(chainId: ChainId): string {
    return join(this.derived, 'chains', hexOf(chainId));
  }
  get ingests(): string {
    return join(this.root, 'ingest');
  }
  ingest(digest: Digest): string {
    return join(this.ingests, `${algorithmOf(digest)}-${hexOf(digest)}`);
  }
  get staging(): string {
    return join(this.root, 'staging');
  }
  get gc(): string {
    return join(this.root, 'gc');
  }
  get mounts(): string {
    return join(this.root, 'mounts');
  }
  mount(mergedKey: string): string {
    return join(this.mounts, mergedKey);
  }
  get containers(): string {
    return join(this.root, 'containers');
  }
  container(id: ContainerId): string {
    return join(this.containers, directoryNameOf(id));
  }
  containerLock(id: ContainerId): string {
    return `${this.container(id)}.lock`;
  }
  volumes(id: ContainerId): string {
    return join(this.container(id), 'volumes');
  }
  /**
   * What the backend of one root filesystem has for itself: the container's directory, or for an image volume (whose
   * name is not empty) one of the volume's own. The root filesystem is `rootfs` in it.
   */
  backendDirectory(id: ContainerId, volume: string): string {
    return volume === '' ? this.container(id) : join(this.volumes(id), volume);
  }
  rootfs(id: ContainerId, volume = ''): string {
    return join(this.backendDirectory(id, volume), 'rootfs');
  }
}

/** Reads a layer path back: the one place where that is done. Rejects with LARDER_DIGEST_INVALID. */
export function parseLayerPath(path: string): StackLayer {
  const last = basename(path);
  if (!last.startsWith('rootfs')) return { diffId: parseDiffId(`sha256:${last}`) };
  return stackLayer(parseDiffId(`sha256:${basename(dirname(path))}`), parseLayerView(last));
}
