/**
 * ▸ Archives of images for tests: what `docker save` writes in each of its forms, and tars of OCI layouts.
 * Deterministic and without I/O: an archive is a list of members, which tests may damage before {@link tar} joins them.
 *
 *     tar(dockerArchive([{ image: buildImage({ layers: [{ tar, compression: 'none' }] }), tags: ['demo:1'] }]))
 */
import { digestOf, hexOf } from '../spec/digest.js';
import { OCI_INDEX } from '../spec/media-types.js';
import type { BuiltImage, BuiltIndex } from './image-builder.js';
import { manifestsOf } from './image-builder.js';
import { dir, file, symlink } from './tar-builder.js';

export interface ArchivedImage {
  readonly image: BuiltImage;
  readonly tags?: readonly string[];
}

export interface OldLayer {
  readonly id: string;
  readonly tar: Uint8Array;
  readonly parent?: string;
  /** More of the layer's `json`. */
  readonly json?: Readonly<Record<string, unknown>>;
}

/** As Docker 1.10 to 24 saves: a folder for each layer, and a link where a layer is there already. */
export function dockerArchive(images: readonly ArchivedImage[]): Buffer[] {
  const members: Buffer[] = [];
  const seen = new Map<string, string>();
  const manifest = images.map(({ image, tags }, i) => {
    const config = `${hexOf(image.configDigest)}.json`;
    if (!seen.has(config)) members.push(file(config, image.config));
    seen.set(config, config);
    const layers = image.layers.map((layer, n) => {
      const folder = digestOf(Buffer.from(`${i} ${n} ${layer.diffId}`)).slice(7);
      const before = seen.get(layer.digest);
      seen.set(layer.digest, before ?? folder);
      members.push(dir(folder), file(`${folder}/VERSION`, '1.0'));
      members.push(
        before === undefined
          ? file(`${folder}/layer.tar`, layer.blob)
          : symlink(`${folder}/layer.tar`, `../${before}/layer.tar`),
      );
      return `${folder}/layer.tar`;
    });
    return { Config: config, RepoTags: tags ?? null, Layers: layers };
  });
  return [...members, file('manifest.json', JSON.stringify(manifest))];
}

/** As Docker 25 and later save: an OCI layout with a `manifest.json` that points into it. */
export function dockerLayoutArchive(images: readonly ArchivedImage[]): Buffer[] {
  const manifest = images.map(({ image, tags }) => ({
    Config: blobName(image.configDigest),
    RepoTags: tags ?? null,
    Layers: image.layers.map(({ digest }) => blobName(digest)),
  }));
  const named = Object.fromEntries(images.map(({ image, tags = [] }, i) => [tags[0] ?? `image-${i}`, image]));
  return [...ociArchive(named), file('manifest.json', JSON.stringify(manifest))];
}

/** As Docker before 1.10 saves: `repositories` is `{repository: {tag: id}}`. */
export function oldDockerArchive(
  repositories: Readonly<Record<string, Readonly<Record<string, string>>>>,
  layers: readonly OldLayer[],
): Buffer[] {
  const folders = layers.flatMap(({ id, tar, parent, json }) => [
    dir(id),
    file(`${id}/VERSION`, '1.0'),
    file(`${id}/json`, JSON.stringify({ id, ...(parent === undefined ? {} : { parent }), ...json })),
    file(`${id}/layer.tar`, tar),
  ]);
  return [...folders, file('repositories', JSON.stringify(repositories))];
}

/** An OCI layout; the names become ref names, and one that is empty none. */
export function ociArchive(images: Readonly<Record<string, BuiltImage | BuiltIndex>>): Buffer[] {
  const blobs = new Map<string, Uint8Array>();
  for (const image of Object.values(images).flatMap(manifestsOf)) {
    for (const bytes of [image.manifest, ...('blobs' in image ? image.blobs : [])]) blobs.set(digestOf(bytes), bytes);
  }
  const manifests = Object.entries(images).map(([name, { mediaType, manifest, digest }]) => ({
    mediaType,
    digest,
    size: manifest.length,
    ...(name === '' ? {} : { annotations: { 'org.opencontainers.image.ref.name': name } }),
  }));
  return [
    ...[...blobs].map(([digest, bytes]) => file(blobName(digest), bytes)),
    file('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' })),
    file('index.json', JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests })),
  ];
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}
