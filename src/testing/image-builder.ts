/**
 * ▸ Images for tests out of layer tars: manifests, configs and image indexes as a registry or an OCI layout has them.
 * Deterministic and without I/O, but for tars that are given by path and {@link writeOciLayout}.
 *
 *     const image = buildImage({ layers: [{ tar: tar([file('etc/motd', 'hello\n')]) }] });
 *     registry.addImage({ name: 'library/demo', tag: 'latest', ...image });
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { algorithmOf, type DiffId, type Digest, digestOf, hexOf, parseDiffId } from '../spec/digest.js';
import {
  DOCKER_CONFIG,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  type LayerCompression,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from '../spec/media-types.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../spec/platform.js';

export interface LayerSource {
  /** The tar's bytes, or its path. */
  readonly tar: Uint8Array | string;
  /** Default gzip. */
  readonly compression?: LayerCompression;
  /** The blob to send instead of the compressed tar; digest and size are those of this blob. */
  readonly blob?: Uint8Array;
  /** The DiffID that the config claims, instead of the tar's own. */
  readonly claimedDiffId?: string;
  /** The size that the manifest claims, instead of the blob's. */
  readonly claimedSize?: number;
  readonly mediaType?: string;
}

export interface ImageOptions {
  readonly layers: readonly LayerSource[];
  /** The `config` object of the image config: Cmd, Env, …. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** `os/arch[/variant]`; default: this machine's. */
  readonly platform?: string;
  /** Docker's media types instead of OCI's. */
  readonly docker?: boolean;
}

export interface BuiltLayer {
  readonly blob: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
  readonly diffId: DiffId;
  /** Bytes of the uncompressed tar. */
  readonly tarSize: number;
}

/** Has what a fake registry's `addImage` takes: `manifest`, `mediaType` and `blobs`. */
export interface BuiltImage {
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  /** Of the manifest. */
  readonly digest: Digest;
  readonly config: Uint8Array;
  /** The image ID. */
  readonly configDigest: Digest;
  readonly platform: string;
  readonly layers: readonly BuiltLayer[];
  /** The config, then the layers, each once. */
  readonly blobs: readonly Uint8Array[];
}

export interface BuiltIndex {
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
  readonly images: readonly (BuiltImage | BuiltIndex)[];
}

const EPOCH = '1970-01-01T00:00:00Z';

export function buildImage(options: ImageOptions): BuiltImage {
  const docker = options.docker ?? false;
  const platform = parsePlatform(options.platform ?? formatPlatform(hostPlatform()));
  const layers = options.layers.map((layer) => buildLayer(layer, docker));
  const config = json({
    created: EPOCH,
    ...platform,
    config: options.config ?? { Cmd: ['/bin/sh'] },
    rootfs: { type: 'layers', diff_ids: layers.map((layer, i) => options.layers[i]?.claimedDiffId ?? layer.diffId) },
    history: layers.map((_, i) => ({ created: EPOCH, created_by: `layer ${i + 1}` })),
  });
  const mediaType = docker ? DOCKER_MANIFEST : OCI_MANIFEST;
  const manifest = json({
    schemaVersion: 2,
    mediaType,
    config: descriptor(docker ? DOCKER_CONFIG : OCI_CONFIG, config),
    layers: layers.map((layer, i) => {
      const claimed = options.layers[i]?.claimedSize;
      return { ...descriptor(layer.mediaType, layer.blob), ...(claimed === undefined ? {} : { size: claimed }) };
    }),
  });
  const blobs = new Map([[digestOf(config), config], ...layers.map((layer) => [layer.digest, layer.blob] as const)]);
  return {
    manifest,
    mediaType,
    digest: digestOf(manifest),
    config,
    configDigest: digestOf(config),
    platform: formatPlatform(platform),
    layers,
    blobs: [...blobs.values()],
  };
}

/** An image index over images of different platforms; an index in it is nested without a platform. */
export function buildIndex(
  images: readonly (BuiltImage | BuiltIndex)[],
  options: { readonly docker?: boolean } = {},
): BuiltIndex {
  const mediaType = options.docker === true ? DOCKER_LIST : OCI_INDEX;
  const manifests = images.map((image) => ({
    ...descriptor(image.mediaType, image.manifest),
    ...('platform' in image ? { platform: parsePlatform(image.platform) } : {}),
  }));
  const manifest = json({ schemaVersion: 2, mediaType, manifests });
  return { manifest, mediaType, digest: digestOf(manifest), images };
}

/** All manifests and image indexes below one, itself last: the order in which a registry wants them. */
export function manifestsOf(top: BuiltImage | BuiltIndex): readonly (BuiltImage | BuiltIndex)[] {
  return 'images' in top ? [...top.images.flatMap(manifestsOf), top] : [top];
}

/** Writes an OCI image layout (OCI image-spec, image-layout.md) that skopeo and umoci read; names become ref names. */
export function writeOciLayout(directory: string, images: Readonly<Record<string, BuiltImage | BuiltIndex>>): void {
  const put = (bytes: Uint8Array) => {
    const digest = digestOf(bytes);
    const folder = join(directory, 'blobs', algorithmOf(digest));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, hexOf(digest)), bytes);
  };
  for (const image of Object.values(images).flatMap(manifestsOf)) {
    put(image.manifest);
    if ('blobs' in image) image.blobs.forEach(put);
  }
  const manifests = Object.entries(images).map(([name, { mediaType, manifest }]) => ({
    ...descriptor(mediaType, manifest),
    annotations: { 'org.opencontainers.image.ref.name': name },
  }));
  writeFileSync(join(directory, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(join(directory, 'index.json'), json({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
}

/** Valid zstd without a compressor (RFC 8878): raw blocks, and repeated bytes as one. */
export function zstdFrame(bytes: Uint8Array): Buffer {
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(bytes.length));
  // Magic number; descriptor: single segment, 8-byte content size, no checksum.
  const parts: Uint8Array[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0]), size];
  const step = 128 * 1024;
  for (let start = 0; start < bytes.length || start === 0; start += step) {
    const block = bytes.subarray(start, start + step);
    const repeated = block.length > 1 && block.every((byte) => byte === block[0]);
    const last = start + step >= bytes.length;
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (repeated ? 2 : 0) | (last ? 1 : 0), 0, 3);
    parts.push(header, repeated ? block.subarray(0, 1) : block);
  }
  return Buffer.concat(parts);
}

export function buildLayer(source: LayerSource, docker: boolean): BuiltLayer {
  const bytes = typeof source.tar === 'string' ? readFileSync(source.tar) : source.tar;
  const compression = source.compression ?? 'gzip';
  const blob = source.blob ?? compress(bytes, compression);
  return {
    blob,
    mediaType: source.mediaType ?? layerType(compression, docker),
    digest: digestOf(blob),
    diffId: parseDiffId(digestOf(bytes)),
    tarSize: bytes.length,
  };
}

function compress(bytes: Uint8Array, compression: LayerCompression): Uint8Array {
  if (compression === 'none') return bytes;
  return compression === 'gzip' ? gzipSync(bytes) : zstdFrame(bytes);
}

function layerType(compression: LayerCompression, docker: boolean): string {
  const base = docker ? 'application/vnd.docker.image.rootfs.diff.tar' : 'application/vnd.oci.image.layer.v1.tar';
  return compression === 'none' ? base : `${base}${docker ? '.' : '+'}${compression}`;
}

function descriptor(mediaType: string, bytes: Uint8Array) {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
