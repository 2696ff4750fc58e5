/**
 * Images in an OCI image layout (OCI image-spec, image-layout.md), a directory or a tar of one. Every document is proven
 * by its digest and size; layers are proven when they are read.
 */
import { LarderError } from '../../errors.js';
import { type Descriptor, type IndexEntry, verifyBytes } from '../../spec/descriptor.js';
import { algorithmOf, type Digest, hexOf } from '../../spec/digest.js';
import { MAX_CONFIG_BYTES } from '../../spec/image-config.js';
import { checkLayoutVersion, type LayoutEntry, parseLayoutIndex } from '../../spec/layout-index.js';
import { MAX_MANIFEST_BYTES, parseManifest } from '../../spec/manifest.js';
import { findPlatform, type Platform, platformNotFound } from '../../spec/platform.js';
import { type FetchedManifest, resolveManifest } from '../docker/resolve-manifest.js';
import { type ArchiveFile, type ArchiveFiles, invalid, readWhole } from './archive-files.js';
import {
  type ArchiveChoice,
  type ArchiveImage,
  nothingOfThatName,
  severalImages,
  textOfChoice,
} from './archive-image.js';
import { canonicalTag } from './saved-layers.js';

/** All that `index.json` lists. Rejects with LARDER_ARCHIVE_INVALID, LARDER_MEDIA_TYPE_UNSUPPORTED. */
export async function listLayout(files: ArchiveFiles): Promise<LayoutEntry[]> {
  const doing = `read layout ${files.name}`;
  const version = await files.find('oci-layout');
  const index = await files.find('index.json');
  if (index === undefined || version === undefined) {
    throw invalid(
      doing,
      `there is no ${index === undefined ? 'index.json' : 'oci-layout'} in it`,
      await hintFor(files),
    );
  }
  const [ofVersion, ofIndex] = [`${doing}: oci-layout`, `${doing}: index.json`];
  checkLayoutVersion(await readWhole(version, MAX_MANIFEST_BYTES, ofVersion), ofVersion);
  return parseLayoutIndex(await readWhole(index, MAX_MANIFEST_BYTES, ofIndex), ofIndex);
}

/** Rejects as {@link listLayout}, and with LARDER_IMAGE_NOT_FOUND, LARDER_REFERENCE_INVALID, LARDER_BLOB_NOT_FOUND, …. */
export async function resolveInLayout(
  files: ArchiveFiles,
  choice: ArchiveChoice,
  wanted: Platform,
): Promise<ArchiveImage> {
  const doing = `read layout ${files.name}`;
  const entry = chooseEntry(await listLayout(files), choice, wanted, doing);
  const source = {
    fetchManifest: (descriptor: IndexEntry) => manifestOf(files, descriptor),
    fetchConfig: (descriptor: Descriptor) => documentOf(files, descriptor, MAX_CONFIG_BYTES),
  };
  const facts = await resolveManifest(await source.fetchManifest(entry), source, wanted, doing);
  const places = new Map<Digest, ArchiveFile>();
  for (const layer of facts.layers) places.set(layer.digest, await placeOf(files, layer));
  return { facts, places };
}

/** `index.json` is an image index itself: entries with one name are one image for several platforms. */
function chooseEntry(
  entries: readonly LayoutEntry[],
  choice: ArchiveChoice,
  wanted: Platform,
  doing: string,
): IndexEntry {
  const found = entries.filter((entry, i) => isChosen(entry, i, choice)).map(({ descriptor }) => descriptor);
  const [only] = found;
  if (only === undefined) throw nothingOfThatName(doing, choice, entries);
  if (found.every(({ digest }) => digest === only.digest)) return only;
  const names = new Set(entries.map((entry) => entry.names.join('\n')));
  if (choice === undefined && (names.size > 1 || found.some(({ platform }) => platform === undefined))) {
    throw severalImages(doing, entries);
  }
  const match = findPlatform(found, wanted);
  if (match === undefined) throw platformNotFound(found, wanted, doing);
  return match;
}

function isChosen({ descriptor, names }: LayoutEntry, index: number, choice: ArchiveChoice): boolean {
  switch (choice?.kind) {
    case undefined:
      return true;
    case 'index':
      return choice.index === index;
    case 'digest':
      return choice.digest === descriptor.digest;
    case 'name':
      return names.includes(choice.name);
    case 'reference':
      return names.flatMap(canonicalTag).includes(textOfChoice(choice));
  }
}

async function manifestOf(files: ArchiveFiles, descriptor: Descriptor): Promise<FetchedManifest> {
  const doing = `read layout ${files.name}: ${descriptor.digest}`;
  const bytes = await documentOf(files, descriptor, MAX_MANIFEST_BYTES);
  return { digest: descriptor.digest, bytes, manifest: parseManifest(bytes, descriptor.mediaType, doing) };
}

async function documentOf(files: ArchiveFiles, descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
  const doing = `read layout ${files.name}: ${descriptor.digest}`;
  const bytes = await readWhole(await placeOf(files, descriptor), maxBytes, doing);
  verifyBytes(descriptor, bytes, doing);
  return bytes;
}

async function placeOf(
  files: ArchiveFiles,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
): Promise<ArchiveFile> {
  const doing = `read layout ${files.name}`;
  const file = await files.find(`blobs/${algorithmOf(digest)}/${hexOf(digest)}`);
  if (file === undefined) {
    throw new LarderError('LARDER_BLOB_NOT_FOUND', `${doing}: ${digest} is not in it`, { details: { digest } });
  }
  if (file.size === size) return file;
  throw new LarderError('LARDER_SIZE_MISMATCH', `${doing}: ${digest} has ${file.size} bytes instead of ${size}`, {
    details: { digest, expected: size, actual: file.size },
  });
}

async function hintFor(files: ArchiveFiles): Promise<{ hint?: string }> {
  if ((await files.find('manifest.json')) === undefined && (await files.find('repositories')) === undefined) return {};
  return { hint: `it is what \`docker save\` writes: docker-archive:${files.name}` };
}
