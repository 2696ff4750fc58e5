/** ▸ What the database keeps, as plain data. Times are milliseconds since the epoch, for people only: nothing is decided by them but order of use. */
import type { ContainerId } from '../spec/container-id.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { ImageType } from '../spec/image.js';

export interface ImageLayer {
  readonly diffId: DiffId;
  /** As transferred. */
  readonly digest: Digest;
  /** Bytes as transferred. */
  readonly size: number;
  readonly mediaType: string;
}

/** One image under one reference and platform. Key: (type, reference, platform). */
export interface ImageRecord {
  readonly type: ImageType;
  /** Canonical: `docker.io/library/alpine:latest`, `…@sha256:…`. */
  readonly reference: string;
  /** `linux/amd64`, `linux/arm/v7`. */
  readonly platform: string;
  /** What the reference resolved to: an image index or a manifest. */
  readonly digest: Digest;
  readonly manifest: Digest;
  /** The config's digest is the image ID. */
  readonly config: Digest;
  /** Dependencies first (base layer first), no duplicates (I7). */
  readonly layers: readonly ImageLayer[];
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
}

/** The documents of an image: the image index that led to it, if any, its manifest and its config. */
export function blobsOf({ digest, manifest, config }: ImageRecord): Digest[] {
  return [...new Set([digest, manifest, config])];
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

/** A container's durable hold on what its root filesystem is made of (I4, I5). */
export interface ClaimRecord {
  readonly container: ContainerId;
  /** Whose `recover` may destroy it. */
  readonly owner: string;
  readonly backend: string;
  readonly rootfs: string;
  readonly images: readonly { readonly type: ImageType; readonly reference: string; readonly platform: string }[];
  readonly layers: readonly DiffId[];
  /** Manifest and config of each image. */
  readonly blobs: readonly Digest[];
  /** The key of the shared EROFS mount that it uses, if any. */
  readonly mergedKey: string | undefined;
  readonly createdAtMs: number;
}

/** Whether the claim's container has this image. */
export function claimNames(claim: ClaimRecord, { type, reference, platform }: ImageRecord): boolean {
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
