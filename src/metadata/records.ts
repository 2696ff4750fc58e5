/** ▸ What the database keeps, as plain data. Times are milliseconds since the epoch, for people only: nothing is decided by them but order of use. */
import type { ContainerId } from '../spec/container-id.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { ImageType } from '../spec/image.js';
import { type LayerView, type StackLayer, stackLayer } from '../spec/stack.js';

export interface ImageLayer {
  readonly diffId: DiffId;
  /** As transferred; of an Appc image its image id, the SHA-512 of its tar. */
  readonly digest: Digest;
  /** Bytes as transferred. */
  readonly size: number;
  readonly mediaType: string;
  readonly view?: LayerView;
}

/** One image under one reference and platform. Key: (type, reference, platform). */
export interface ImageRecord {
  readonly type: ImageType;
  /** Canonical: `docker.io/library/alpine:latest`, `…@sha256:…`, `appc:example.com/app:1.0`. */
  readonly reference: string;
  /** `linux/amd64`, `linux/arm/v7`. */
  readonly platform: string;
  /** What the reference resolved to: an image index or a manifest; of an Appc image its manifest again. */
  readonly digest: Digest;
  readonly manifest: Digest;
  /** The config's digest is the image ID. Of an Appc image: the document that lists the images it is made of. */
  readonly config: Digest;
  /** Documents that it needs beside these three. */
  readonly extraBlobs?: readonly Digest[];
  /** Dependencies first (base layer first), no duplicates (I7). */
  readonly layers: readonly ImageLayer[];
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
  /** Only `unpin` and `remove` let it go. */
  readonly pinned?: boolean;
}

/** The documents of an image: the image index that led to it, if any, its manifest, its config and what else it needs. */
export function blobsOf({ digest, manifest, config, extraBlobs = [] }: ImageRecord): Digest[] {
  return [...new Set([digest, manifest, config, ...extraBlobs])];
}

/** By what people tell images apart: the digest of a Docker image's config, the id of an Appc image. */
export function imageIdOf({ type, config, layers }: ImageRecord): string {
  const id = type === 'appc' ? layers.at(-1)?.digest.replace(':', '-') : undefined;
  return id ?? config;
}

export function stackOf({ layers }: Pick<ImageRecord, 'layers'>): StackLayer[] {
  return layers.map(({ diffId, view }) => stackLayer(diffId, view));
}

/** What is known of a layer that was adopted into `layers/`. */
export interface LayerRecord {
  readonly diffId: DiffId;
  readonly tarSize: number;
  readonly entries: number;
  /** SHA-256 (hex) and bytes of derived/…/index, and of layer.extra when there is one. */
  readonly indexSha256: string;
  readonly indexSize: number;
  readonly extraSha256: string | undefined;
  readonly extraSize: number;
  /** The DERIVED_FORMAT that the checksums are of. */
  readonly derivedFormat: number;
  /** A check read bytes that are not the layer's: they are read again before anybody is given them. */
  readonly suspect?: boolean;
}

/** One derived file or tree that was made from several layers: a merged EROFS image, an overlay directory. Key: (kind, key). */
export interface DerivedRecord {
  readonly kind: 'merged' | 'chain';
  /** The merged key, or the ChainID's hex. */
  readonly key: string;
  /** SHA-256 (hex) and bytes of the file; of a directory: '' and its apparent bytes. */
  readonly sha256: string;
  readonly size: number;
  readonly layers: readonly DiffId[];
}

/** One root filesystem of a container: its own, or that of an image volume. */
export interface ClaimedImage {
  /** '' for the container's own root filesystem, else the volume's name. */
  readonly name: string;
  readonly type: ImageType;
  readonly reference: string;
  readonly platform: string;
  readonly backend: string;
  readonly rootfs: string;
  readonly layers: readonly StackLayer[];
  /** The key of the shared EROFS mount that it uses, if any. */
  readonly mergedKey: string | undefined;
}

/** A container's durable hold on what its root filesystems are made of (I4, I5). */
export interface ClaimRecord {
  readonly container: ContainerId;
  /** Whose `recover` may destroy it. */
  readonly owner: string;
  /** The container's own root filesystem first, if it has one. */
  readonly images: readonly ClaimedImage[];
  /** The documents of all images. */
  readonly blobs: readonly Digest[];
  readonly createdAtMs: number;
}

/** Whether the claim's container has this image. */
export function claimNames(
  claim: ClaimRecord,
  { type, reference, platform }: Pick<ImageRecord, 'type' | 'reference' | 'platform'>,
): boolean {
  return claim.images.some(
    (image) => image.type === type && image.reference === reference && image.platform === platform,
  );
}

/** A pull's hold: gone when it is disposed, or when the store handle that took it is no longer alive. */
export interface LeaseRecord {
  readonly id: string;
  /** The id of the store handle; its file under `handles/` is locked while it lives. */
  readonly handle: string;
  readonly layers: readonly DiffId[];
  readonly blobs: readonly Digest[];
}
