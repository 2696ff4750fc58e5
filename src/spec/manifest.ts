import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { DESCRIPTOR, type Descriptor, type IndexEntry } from './descriptor.js';
import { parseJson } from './json.js';
import { lookalikeKey } from './lookalike-keys.js';
import {
  DOCKER_CONFIG,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  type IndexMediaType,
  isForeignLayerType,
  isGenericType,
  isIndexType,
  isManifestType,
  type LayerCompression,
  layerCompressionOf,
  type ManifestMediaType,
  mediaTypeOf,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from './media-types.js';
import { assertShape } from './shape.js';

export type Manifest = ImageIndex | ImageManifest;

/** OCI image index or Docker manifest list. */
export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: IndexMediaType;
  readonly manifests: readonly IndexEntry[];
}

/** OCI image manifest or Docker image manifest version 2 schema 2. */
export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: ManifestMediaType;
  readonly config: Descriptor;
  /** Base first, at least one; the same layer may come twice. */
  readonly layers: readonly LayerDescriptor[];
}

export interface LayerDescriptor extends Descriptor {
  readonly compression: LayerCompression;
  /** Of a foreign layer: where it is said to be, when the registry has not got it. */
  readonly urls?: readonly string[];
}

/** containers/image's limit, too; registries refuse larger ones on push. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** overlayfs takes 500 lower layers and Docker builds at most 127; above the kernel's own limit no backend could show the image. */
export const MAX_LAYERS = 500;
export const MAX_INDEX_ENTRIES = 1000;

/**
 * Parses the bytes of an image index or manifest. `contentType` is what the registry, or the descriptor that led here,
 * called them; it must agree with the document, and the document can only be one of the two (CVE-2021-41190).
 * Rejects with LARDER_MANIFEST_INVALID, and with LARDER_MEDIA_TYPE_UNSUPPORTED for what is well-formed but no image
 * that larder reads: artifacts, encrypted layers; and for schema 1, which `manifest-v1.ts` reads.
 */
export function parseManifest(bytes: Uint8Array, contentType?: string, doing = 'manifest'): Manifest {
  const { value, mediaType } = readDocument(bytes, contentType, doing);
  return isIndexType(mediaType) ? parseIndex(value, mediaType, doing) : parseImageManifest(value, mediaType, doing);
}

/** What a document names, whatever it is good for: artifacts and attestations have the same two forms as images. */
export interface DocumentLinks {
  readonly mediaType: IndexMediaType | ManifestMediaType;
  /** Of an index. */
  readonly manifests: readonly Descriptor[];
  readonly config?: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** The same gates as {@link parseManifest}, but for what only an image must be. Rejects as it does. */
export function parseLinks(bytes: Uint8Array, contentType?: string, doing = 'manifest'): DocumentLinks {
  const { value, mediaType } = readDocument(bytes, contentType, doing);
  if (isIndexType(mediaType)) {
    return { mediaType, manifests: parseIndex(value, mediaType, doing).manifests.map(plain), layers: [] };
  }
  const { config, layers } = assertShape(LINKS, value, doing, 'LARDER_MANIFEST_INVALID');
  return { mediaType, manifests: [], config: plain(config), layers: layers.map(plain) };
}

function readDocument(bytes: Uint8Array, contentType: string | undefined, doing: string) {
  const value = parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: 'LARDER_MANIFEST_INVALID' });
  const head = assertShape(HEAD, value, doing, 'LARDER_MANIFEST_INVALID');
  const mediaType = typeOf(head, contentType, doing);
  refuseHybrids(head, mediaType, doing);
  refuseLookalikes(value, doing);
  return { value, mediaType };
}

const HEAD = v.object({
  schemaVersion: v.number(),
  mediaType: v.nullish(v.pipe(v.string(), v.maxLength(255))),
  artifactType: v.nullish(v.string()),
  manifests: v.optional(v.unknown()),
  config: v.optional(v.unknown()),
  layers: v.optional(v.unknown()),
  fsLayers: v.optional(v.unknown()),
  history: v.optional(v.unknown()),
  signatures: v.optional(v.unknown()),
});
type Head = v.InferOutput<typeof HEAD>;

const INDEX = v.object({
  manifests: v.pipe(v.array(DESCRIPTOR), v.maxLength(MAX_INDEX_ENTRIES, `more than ${MAX_INDEX_ENTRIES} entries`)),
});

const MANIFEST = v.object({
  config: DESCRIPTOR,
  layers: v.pipe(
    v.array(DESCRIPTOR),
    v.minLength(1, 'the image has no layers'),
    v.maxLength(MAX_LAYERS, `more than ${MAX_LAYERS} layers`),
  ),
});

const LINKS = v.object({
  config: DESCRIPTOR,
  layers: v.optional(v.pipe(v.array(DESCRIPTOR), v.maxLength(MAX_LAYERS, `more than ${MAX_LAYERS} layers`)), []),
});

function typeOf(head: Head, contentType: string | undefined, doing: string): IndexMediaType | ManifestMediaType {
  const outer = mediaTypeOf(contentType ?? '');
  if (head.schemaVersion === 1 || outer.startsWith('application/vnd.docker.distribution.manifest.v1+')) {
    throw new LarderError(
      'LARDER_MEDIA_TYPE_UNSUPPORTED',
      `${doing}: a Docker image manifest schema 1 is only read where a registry answers it for a name`,
      {
        hint: 'push the image again with a Docker of 2016 or later',
      },
    );
  }
  if (head.schemaVersion !== 2) throw invalid(doing, `schemaVersion is ${head.schemaVersion} instead of 2`);
  const inner = head.mediaType ?? undefined;
  if (inner !== undefined && !isGenericType(outer) && inner !== outer) {
    throw invalid(doing, `it says that it is ${inner}, but was served as ${outer.slice(0, 255)}`);
  }
  const mediaType = inner ?? (isGenericType(outer) ? guess(head) : outer);
  if (isIndexType(mediaType) || isManifestType(mediaType)) return mediaType;
  throw new LarderError(
    'LARDER_MEDIA_TYPE_UNSUPPORTED',
    `${doing}: ${mediaType.slice(0, 255)} is not an image that larder reads`,
    {
      hint: `supported: ${[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(', ')}`,
    },
  );
}

/** OCI documents may leave their type out (manifest.md, `mediaType`); then their one list tells. */
function guess(head: Head): string {
  return head.manifests === undefined ? OCI_MANIFEST : OCI_INDEX;
}

function refuseHybrids(head: Head, mediaType: string, doing: string): void {
  const has = (key: keyof Head): boolean => head[key] !== undefined;
  const wrong = isIndexType(mediaType)
    ? has('config') || has('layers') || has('fsLayers') || has('history')
    : has('manifests') || has('fsLayers') || has('history') || has('signatures');
  if (wrong) throw invalid(doing, `it has the members of more than one kind of document (${mediaType})`);
}

const DESCRIPTOR_KEYS = ['mediaType', 'digest', 'size', 'urls', 'data', 'platform', 'artifactType'];

function refuseLookalikes(value: unknown, doing: string): void {
  const { config, layers, manifests } = value as Head;
  const descriptors = [config, layers, manifests].flat(1);
  const key =
    lookalikeKey(value, Object.keys(HEAD.entries)) ??
    descriptors.map((one) => lookalikeKey(one, DESCRIPTOR_KEYS)).find((found) => found !== undefined);
  if (key === undefined) return;
  throw invalid(doing, `other readers take the key ${JSON.stringify(key.slice(0, 80))} for another one of it`);
}

function parseIndex(value: unknown, mediaType: IndexMediaType, doing: string): ImageIndex {
  const { manifests } = assertShape(INDEX, value, doing, 'LARDER_MANIFEST_INVALID');
  const { artifactType } = value as Head;
  // One of artifacts may be for several platforms, too; what is in it then says that it is none for us.
  if (artifactType && !manifests.some(({ platform }) => platform !== undefined)) throw artifact(artifactType, doing);
  return { kind: 'index', mediaType, manifests };
}

function parseImageManifest(value: unknown, mediaType: ManifestMediaType, doing: string): ImageManifest {
  const { artifactType } = value as Head;
  refuseArtifacts(value, artifactType ?? undefined, doing);
  const { config, layers } = assertShape(MANIFEST, value, doing, 'LARDER_MANIFEST_INVALID');
  if (layers.some((layer) => layer.digest === config.digest)) {
    throw invalid(doing, `${config.digest} is both the config and a layer`);
  }
  return {
    kind: 'manifest',
    mediaType,
    config: plain(config),
    layers: layers.map((layer) => ({
      ...plain(layer),
      compression: layerCompressionOf(layer.mediaType, doing),
      ...(isForeignLayerType(layer.mediaType) ? { urls: layer.urls ?? [] } : {}),
    })),
  };
}

const CONFIG_TYPE = v.object({ config: v.object({ mediaType: v.pipe(v.string(), v.maxLength(255)) }) });

/** Before the layers are looked at: an artifact may rightly have none. */
function refuseArtifacts(value: unknown, artifactType: string | undefined, doing: string): void {
  const { config } = assertShape(CONFIG_TYPE, value, doing, 'LARDER_MANIFEST_INVALID');
  if (config.mediaType === OCI_CONFIG || config.mediaType === DOCKER_CONFIG) return;
  throw artifact(artifactType ?? config.mediaType, doing);
}

function artifact(type: string, doing: string): LarderError {
  return new LarderError(
    'LARDER_MEDIA_TYPE_UNSUPPORTED',
    `${doing}: this is an artifact (${type.slice(0, 255)}), not an image`,
  );
}

function plain({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

function invalid(doing: string, why: string): LarderError {
  return new LarderError('LARDER_MANIFEST_INVALID', `${doing}: ${why}`);
}
