/**
 * Images in what `docker save` writes. Since Docker 1.10 there is a `manifest.json`; what is older is read by
 * `docker-archive-v1.ts`. From Docker 25 on an OCI layout lies in the same archive: `manifest.json` counts, as for
 * `docker load`.
 */
import { LarderError } from '../../errors.js';
import { type Digest, digestOf, isDigest } from '../../spec/digest.js';
import { parseSavedImages, type SavedImage } from '../../spec/docker-archive.js';
import { type ImageConfig, MAX_CONFIG_BYTES, parseImageConfig, platformOfConfig } from '../../spec/image-config.js';
import { MAX_MANIFEST_BYTES } from '../../spec/manifest.js';
import { findPlatform, type Platform, platformNotFound } from '../../spec/platform.js';
import { type ArchiveFiles, invalid, readWhole } from './archive-files.js';
import {
  type ArchiveChoice,
  type ArchiveImage,
  type ListedImage,
  nothingOfThatName,
  severalImages,
  textOfChoice,
} from './archive-image.js';
import { listOldArchive, resolveInOldArchive } from './docker-archive-v1.js';
import {
  canonicalTag,
  type HashArchived,
  imageOfLayers,
  required,
  type SavedLayer,
  savedLayer,
} from './saved-layers.js';

/** An image for several platforms has as many configs; each is read to see which one it is for. */
const MAX_PLATFORMS = 100;

/** The names that it has, canonical. Rejects with LARDER_ARCHIVE_INVALID. */
export async function listDockerArchive(files: ArchiveFiles): Promise<ListedImage[]> {
  return (await savedImages(files))?.map(listed) ?? listOldArchive(files);
}

/** Rejects with LARDER_ARCHIVE_INVALID, LARDER_IMAGE_NOT_FOUND, LARDER_REFERENCE_INVALID, LARDER_PLATFORM_NOT_FOUND, …. */
export async function resolveInDockerArchive(
  files: ArchiveFiles,
  choice: ArchiveChoice,
  wanted: Platform,
  hash: HashArchived,
): Promise<ArchiveImage> {
  const saved = await savedImages(files);
  if (saved === undefined) return resolveInOldArchive(files, choice, wanted, hash);
  const doing = `read archive ${files.name}`;
  const { bytes, image, config } = await forPlatform(files, chosen(saved, choice, doing), wanted, doing);
  const layers = await layersOf(files, image, config, doing, hash);
  return imageOfLayers(bytes, layers, wanted, doing);
}

interface Candidate {
  readonly image: SavedImage;
  readonly bytes: Uint8Array;
  readonly config: ImageConfig;
}

async function savedImages(files: ArchiveFiles): Promise<SavedImage[] | undefined> {
  const doing = `read archive ${files.name}`;
  const file = await files.find('manifest.json');
  const reading = `${doing}: manifest.json`;
  if (file !== undefined) return parseSavedImages(await readWhole(file, MAX_MANIFEST_BYTES, reading), reading);
  if ((await files.find('repositories')) !== undefined) return undefined;
  const isLayout = (await files.find('index.json')) !== undefined;
  throw invalid(doing, 'it is not what `docker save` writes: there is neither a manifest.json nor a repositories', {
    ...(isLayout ? { hint: `it is an OCI layout: oci-archive:${files.name}` } : {}),
  });
}

/** Several only where they are one image for several platforms, or where a name was given twice. */
function chosen(saved: readonly SavedImage[], choice: ArchiveChoice, doing: string): readonly SavedImage[] {
  const all = saved.map(listed);
  if (choice === undefined) {
    const [first] = all;
    const same =
      first !== undefined && first.names.length > 0 && all.every((one) => one.names.join() === first.names.join());
    if (saved.length === 1 || same) return saved;
    throw saved.length === 0 ? nothingOfThatName(doing, choice, all) : severalImages(doing, all);
  }
  const text = textOfChoice(choice);
  const found = saved.filter((_, i) => (choice.kind === 'index' ? i === choice.index : all[i]?.names.includes(text)));
  if (found.length === 0) throw nothingOfThatName(doing, choice, all);
  return found;
}

/**
 * Of several for the platform the last counts: a name that comes twice is moved by what comes later. One config at a time
 * is in memory.
 */
async function forPlatform(
  files: ArchiveFiles,
  images: readonly SavedImage[],
  wanted: Platform,
  doing: string,
): Promise<Candidate> {
  const lastFirst = new Map<string, SavedImage>();
  for (const image of [...images].reverse()) if (!lastFirst.has(image.config)) lastFirst.set(image.config, image);
  const [last] = lastFirst.values();
  if (last !== undefined && lastFirst.size === 1) return configOf(files, last, doing);
  if (lastFirst.size > MAX_PLATFORMS) throw invalid(doing, `more than ${MAX_PLATFORMS} images have one name`);
  const entries = [];
  for (const image of lastFirst.values()) {
    const { config } = await configOf(files, image, doing);
    entries.push({ image, platform: platformOfConfig(config) });
  }
  const match = findPlatform(entries, wanted);
  if (match === undefined) throw platformNotFound(entries, wanted, doing);
  return configOf(files, match.image, doing);
}

async function configOf(files: ArchiveFiles, image: SavedImage, doing: string): Promise<Candidate> {
  const file = await required(files, image.config, doing);
  const reading = `${doing}: ${image.config}`;
  const bytes = await readWhole(file, MAX_CONFIG_BYTES, reading);
  const named = digestInName(image.config);
  if (named !== undefined && named !== digestOf(bytes)) {
    throw new LarderError('LARDER_DIGEST_MISMATCH', `${reading}: its bytes hash to ${digestOf(bytes)}`, {
      details: { expected: named, actual: digestOf(bytes) },
    });
  }
  return { image, bytes, config: parseImageConfig(bytes, reading) };
}

async function layersOf(
  files: ArchiveFiles,
  image: SavedImage,
  config: ImageConfig,
  doing: string,
  hash: HashArchived,
): Promise<SavedLayer[]> {
  const { length } = config.diffIds;
  if (length !== image.layers.length) {
    throw invalid(doing, `${image.layers.length} layers are listed, but the config names ${length}`);
  }
  const layers: SavedLayer[] = [];
  for (const [i, name] of image.layers.entries()) {
    const diffId = config.diffIds[i];
    if (diffId === undefined) throw new LarderError('LARDER_INTERNAL', `${doing}: no DiffID`);
    const digest = name.startsWith('blobs/') ? digestInName(name) : undefined;
    layers.push(await savedLayer(await required(files, name, doing), diffId, digest, doing, hash));
  }
  return layers;
}

/** `<hex>.json`, `sha256:<hex>` and `blobs/sha256/<hex>` say what the bytes must hash to. */
function digestInName(name: string): Digest | undefined {
  const hex = /^(?:blobs\/sha256\/|sha256:)?([0-9a-f]{64})(?:\.json)?$/.exec(name)?.[1];
  const digest = `sha256:${hex ?? ''}`;
  return isDigest(digest) ? digest : undefined;
}

function listed({ repoTags }: SavedImage): ListedImage {
  return { names: repoTags.flatMap(canonicalTag) };
}
