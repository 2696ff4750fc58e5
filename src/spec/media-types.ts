/** Media types of images: OCI image-spec `media-types.md`, and Docker's image manifest version 2 schema 2. */
import { LarderError } from '../errors.js';

export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';

/** Docker's image manifest version 2 schema 1, without and with a signature. */
export const DOCKER_MANIFEST_V1 = 'application/vnd.docker.distribution.manifest.v1+json';
export const DOCKER_MANIFEST_V1_SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
/**
 * Docker's name for a layer of which schema 1 says nothing but the digest: its bytes alone tell how it is compressed.
 * No document that larder reads may call a layer so; records of images that came as schema 1 do.
 */
export const SCHEMA_1_LAYER = 'application/vnd.docker.container.image.rootfs.diff+x-gtar';

export type IndexMediaType = typeof OCI_INDEX | typeof DOCKER_LIST;
export type ManifestMediaType = typeof OCI_MANIFEST | typeof DOCKER_MANIFEST;

/** What is asked for, best first. */
export const ACCEPTED_MANIFESTS: readonly string[] = [
  OCI_INDEX,
  OCI_MANIFEST,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_MANIFEST_V1_SIGNED,
  DOCKER_MANIFEST_V1,
];

/** Types under which some registries serve any JSON; they say nothing. */
const GENERIC = new Set(['', 'application/json', 'application/octet-stream', 'text/plain', 'binary/octet-stream']);

export type LayerCompression = 'none' | 'gzip' | 'zstd';

const LAYER_TYPES: Readonly<Record<string, LayerCompression>> = {
  'application/vnd.oci.image.layer.v1.tar': 'none',
  'application/vnd.oci.image.layer.v1.tar+gzip': 'gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd': 'zstd',
  'application/vnd.docker.image.rootfs.diff.tar': 'none',
  'application/vnd.docker.image.rootfs.diff.tar.gzip': 'gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd': 'zstd',
};

/** Layers that a registry need not have: their descriptors may say where else they are. */
const FOREIGN_LAYER_TYPES: Readonly<Record<string, LayerCompression>> = {
  'application/vnd.oci.image.layer.nondistributable.v1.tar': 'none',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip': 'gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd': 'zstd',
  'application/vnd.docker.image.rootfs.foreign.diff.tar': 'none',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip': 'gzip',
};

export function isIndexType(mediaType: string): mediaType is IndexMediaType {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
}

export function isManifestType(mediaType: string): mediaType is ManifestMediaType {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

export function isSchema1Type(mediaType: string): boolean {
  return mediaType === DOCKER_MANIFEST_V1 || mediaType === DOCKER_MANIFEST_V1_SIGNED;
}

export function isGenericType(mediaType: string): boolean {
  return GENERIC.has(mediaType);
}

export function isForeignLayerType(mediaType: string): boolean {
  return Object.hasOwn(FOREIGN_LAYER_TYPES, mediaType);
}

/** How the layer's tar is compressed; rejects what is not a tar with LARDER_MEDIA_TYPE_UNSUPPORTED. */
export function layerCompressionOf(mediaType: string, doing: string): LayerCompression {
  const types = isForeignLayerType(mediaType) ? FOREIGN_LAYER_TYPES : LAYER_TYPES;
  const known = Object.hasOwn(types, mediaType) ? types[mediaType] : undefined;
  if (known !== undefined) return known;
  throw new LarderError(
    'LARDER_MEDIA_TYPE_UNSUPPORTED',
    `${doing}: ${whyNotALayer(mediaType)} (${mediaType.slice(0, 120)})`,
    {
      details: { mediaType: mediaType.slice(0, 255) },
    },
  );
}

function whyNotALayer(mediaType: string): string {
  if (mediaType.endsWith('+encrypted')) return 'encrypted layers are not supported';
  if (/erofs|squashfs/.test(mediaType)) return 'layers that are file systems of their own are not supported';
  return 'this is not a layer of an image';
}

/** `type/subtype` of a Content-Type header: lower case, parameters dropped. */
export function mediaTypeOf(contentType: string): string {
  return (contentType.split(';', 1)[0] ?? '').trim().toLowerCase();
}
