/**
 * What an archive of a stored image consists of. The config is the one that was pulled, byte for byte, so the image ID is
 * the same. Layers are the tars that the store has; where it still has all of them as they were transferred, an OCI
 * archive gets those, and with them the manifest that was pulled. Nothing is read or written yet but documents.
 */
import type { ContentStore } from '../../content/content-store.js';
import { isLarderError, LarderError } from '../../errors.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { ImageLayer, ImageRecord } from '../../metadata/records.js';
import type { Descriptor } from '../../spec/descriptor.js';
import { algorithmOf, type DiffId, type Digest, digestOf, hexOf, parseDigest } from '../../spec/digest.js';
import { type ImageConfig, parseImageConfig } from '../../spec/image-config.js';
import { type ImageManifest, parseManifest } from '../../spec/manifest.js';
import {
  type LayerCompression,
  layerCompressionOf,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from '../../spec/media-types.js';
import { parsePlatform } from '../../spec/platform.js';
import { ociNameOf, tagsOf } from './export-names.js';
import type { ExportTarget } from './export-target.js';

export interface ExportParts {
  readonly content: ContentStore;
  readonly layers: LayerStore;
}

/** One member of the archive: a directory, a document, or a file of the store. */
export type Member =
  | { readonly kind: 'directory'; readonly name: string }
  | { readonly kind: 'bytes'; readonly name: string; readonly bytes: Uint8Array }
  | { readonly kind: 'layer'; readonly name: string; readonly diffId: DiffId; readonly size: number }
  | { readonly kind: 'blob'; readonly name: string; readonly digest: Digest; readonly size: number };

export interface ExportPlan {
  readonly members: readonly Member[];
  /** How readers of the archive call the image; empty where it has no name. */
  readonly names: readonly string[];
  /** Of an OCI archive: the manifest in it. */
  readonly manifest?: Digest;
  /** Layers are uncompressed, under another manifest than the one that was pulled. */
  readonly rewritten: boolean;
}

interface Source {
  readonly record: ImageRecord;
  readonly config: Uint8Array;
  readonly image: ImageConfig;
}

/** Rejects with LARDER_IMAGE_TYPE_UNSUPPORTED for an Appc image, LARDER_LAYER_CORRUPT, LARDER_BLOB_NOT_FOUND, …. The caller holds the image. */
export async function planExport(record: ImageRecord, target: ExportTarget, parts: ExportParts): Promise<ExportPlan> {
  if (record.type !== 'docker') {
    throw new LarderError(
      'LARDER_IMAGE_TYPE_UNSUPPORTED',
      `export ${record.reference}: Appc images have no form that ${target.transport} could hold`,
    );
  }
  const config = await parts.content.read(record.config);
  const source = { record, config, image: parseImageConfig(config, `export ${record.reference}`) };
  return target.transport === 'docker-archive'
    ? planDockerArchive(source, target, parts)
    : planOciArchive(source, target, parts);
}

/** As Docker since 1.10 and skopeo write it: the config, the tars, and a list of both. */
async function planDockerArchive(
  { record, config, image }: Source,
  target: ExportTarget,
  { layers }: ExportParts,
): Promise<ExportPlan> {
  const configName = `${hexOf(record.config)}.json`;
  const tarName = (diffId: DiffId): string => `${hexOf(diffId)}.tar`;
  const names = tagsOf(record, target);
  const list = [
    { Config: configName, RepoTags: names.length === 0 ? null : names, Layers: image.diffIds.map(tarName) },
  ];
  const tars = await tarMembers(image, layers, tarName);
  return {
    members: [bytesOf('manifest.json', list), { kind: 'bytes', name: configName, bytes: config }, ...tars],
    names,
    rewritten: true,
  };
}

/** OCI image-spec, image-layout.md. */
async function planOciArchive(source: Source, target: ExportTarget, parts: ExportParts): Promise<ExportPlan> {
  const { record, config, image } = source;
  const kept = await keptLayers(source, parts);
  const layers = kept ?? (await uncompressedLayers(image, parts.layers));
  const original = kept === undefined ? undefined : await originalManifest(record, parts.content);
  const manifest =
    original ??
    jsonOf({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: record.config, size: config.length },
      layers: layers.map(({ member: _, ...descriptor }) => descriptor),
    });
  const digest = original === undefined ? digestOf(manifest) : record.manifest;
  const { name, fullName } = ociNameOf(record, target);
  const annotations = {
    ...(fullName === undefined ? {} : { 'io.containerd.image.name': fullName }),
    ...(name === undefined ? {} : { 'org.opencontainers.image.ref.name': name }),
  };
  const entry = {
    mediaType: OCI_MANIFEST,
    digest,
    size: manifest.length,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    platform: parsePlatform(record.platform),
  };
  const documents = [
    { digest, bytes: manifest },
    { digest: record.config, bytes: config },
  ];
  const folders = [
    'blobs/',
    ...new Set(['blobs/sha256/', ...documents.map((one) => `blobs/${algorithmOf(one.digest)}/`)]),
  ];
  const members: Member[] = [
    bytesOf('oci-layout', { imageLayoutVersion: '1.0.0' }),
    bytesOf('index.json', { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [entry] }),
    ...folders.map((folder): Member => ({ kind: 'directory', name: folder })),
    ...documents.map((one): Member => ({ kind: 'bytes', name: blobName(one.digest), bytes: one.bytes })),
    ...new Map(layers.map((layer) => [layer.digest, layer.member])).values(),
  ];
  const names = [name, fullName].filter((text) => text !== undefined);
  return { members, names, manifest: digest, rewritten: digest !== record.manifest };
}

interface ExportedLayer extends Descriptor {
  readonly member: Member;
}

/** In the config's order; a layer may come twice. */
async function uncompressedLayers(image: ImageConfig, layers: LayerStore): Promise<ExportedLayer[]> {
  const members = await tarMembers(image, layers, blobName);
  const found = new Map(members.map((member) => [member.diffId, member]));
  return image.diffIds.map((diffId) => {
    const member = found.get(diffId);
    if (member === undefined) throw new LarderError('LARDER_INTERNAL', `export: layer ${diffId}: it has no tar`);
    return { mediaType: ociLayerType('none'), digest: parseDigest(diffId), size: member.size, member };
  });
}

type TarMember = Extract<Member, { kind: 'layer' }>;

/** Each tar once. */
async function tarMembers(
  { diffIds }: ImageConfig,
  layers: LayerStore,
  nameOf: (diffId: DiffId) => string,
): Promise<TarMember[]> {
  const members: TarMember[] = [];
  for (const diffId of new Set(diffIds)) {
    const { tarSize: size } = await layers.mustHave(diffId);
    members.push({ kind: 'layer', name: nameOf(diffId), diffId, size });
  }
  return members;
}

/** The layers as they were transferred, where the store has kept all of them. */
async function keptLayers({ record, image }: Source, { content }: ExportParts): Promise<ExportedLayer[] | undefined> {
  const byDiffId = new Map(record.layers.map((layer) => [layer.diffId, layer]));
  const layers: ImageLayer[] = [];
  for (const diffId of image.diffIds) {
    const layer = byDiffId.get(diffId);
    if (layer === undefined || !(await content.has(layer.digest))) return undefined;
    layers.push(layer);
  }
  const compressions = layers.map(({ mediaType }) => compressionOf(mediaType));
  if (compressions.includes(undefined)) return undefined;
  return layers.map(({ digest, size }, i) => ({
    mediaType: ociLayerType(compressions[i] ?? 'none'),
    digest,
    size,
    member: { kind: 'blob', name: blobName(digest), digest, size },
  }));
}

/** The manifest as it was pulled, if an OCI layout may hold it. */
async function originalManifest(record: ImageRecord, content: ContentStore): Promise<Uint8Array | undefined> {
  const bytes = await content.read(record.manifest);
  return ociManifestIn(bytes)?.mediaType === OCI_MANIFEST ? bytes : undefined;
}

function ociManifestIn(bytes: Uint8Array): ImageManifest | undefined {
  try {
    const manifest = parseManifest(bytes);
    return manifest.kind === 'manifest' ? manifest : undefined;
  } catch (error) {
    // Schema 1: its layers are in the store, and a manifest is written for them.
    if (isLarderError(error, 'LARDER_MEDIA_TYPE_UNSUPPORTED')) return undefined;
    throw error;
  }
}

/** Undefined where nothing says. */
function compressionOf(mediaType: string): LayerCompression | undefined {
  try {
    return layerCompressionOf(mediaType, 'export');
  } catch (error) {
    if (isLarderError(error, 'LARDER_MEDIA_TYPE_UNSUPPORTED')) return undefined;
    throw error;
  }
}

function ociLayerType(compression: LayerCompression): string {
  return `application/vnd.oci.image.layer.v1.tar${compression === 'none' ? '' : `+${compression}`}`;
}

function blobName(digest: Digest | DiffId): string {
  return `blobs/${digest.replace(':', '/')}`;
}

function bytesOf(name: string, value: unknown): Member {
  return { kind: 'bytes', name, bytes: jsonOf(value) };
}

function jsonOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
