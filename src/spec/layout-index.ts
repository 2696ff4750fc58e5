/** `index.json` of an OCI image layout (OCI image-spec, image-layout.md). */
import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { DESCRIPTOR, type IndexEntry } from './descriptor.js';
import { parseJson } from './json.js';
import { MAX_INDEX_ENTRIES, MAX_MANIFEST_BYTES } from './manifest.js';
import { assertShape } from './shape.js';

export interface LayoutEntry {
  readonly descriptor: IndexEntry;
  /** `org.opencontainers.image.ref.name`, then what containerd and Docker call the image; none where nothing says. */
  readonly names: readonly string[];
}

const ARCHIVE = 'LARDER_ARCHIVE_INVALID';
/** A layout may hold much beside images, and more images than one image index has platforms. */
const MAX_ENTRIES = 10 * MAX_INDEX_ENTRIES;
const NAMES = ['org.opencontainers.image.ref.name', 'io.containerd.image.name'] as const;

const NAMED = v.looseObject({ annotations: v.nullish(v.record(v.string(), v.string())) });
const INDEX = v.object({
  manifests: v.pipe(v.array(NAMED), v.maxLength(MAX_ENTRIES, `more than ${MAX_ENTRIES} entries`)),
});
const LAYOUT = v.object({ imageLayoutVersion: v.pipe(v.string(), v.maxLength(64)) });

/** Rejects with LARDER_ARCHIVE_INVALID. Entries that are no descriptors of larder's, such as other digests, are refused, too. */
export function parseLayoutIndex(bytes: Uint8Array, doing: string): LayoutEntry[] {
  const value = parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: ARCHIVE });
  const { manifests } = assertShape(INDEX, value, doing, ARCHIVE);
  return manifests.map((entry) => ({
    descriptor: assertShape(DESCRIPTOR, entry, doing, ARCHIVE),
    names: namesOf(entry.annotations ?? {}),
  }));
}

/** `oci-layout`. Rejects with LARDER_ARCHIVE_INVALID, or LARDER_MEDIA_TYPE_UNSUPPORTED for a version that is not 1. */
export function checkLayoutVersion(bytes: Uint8Array, doing: string): void {
  const value = parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: ARCHIVE });
  const { imageLayoutVersion: version } = assertShape(LAYOUT, value, doing, ARCHIVE);
  if (/^1\.\d/.test(version)) return;
  throw new LarderError('LARDER_MEDIA_TYPE_UNSUPPORTED', `${doing}: version ${version} of the layout is not supported`);
}

function namesOf(annotations: Readonly<Record<string, string>>): string[] {
  const names = NAMES.flatMap((key) => (Object.hasOwn(annotations, key) ? [annotations[key] ?? ''] : []));
  return [...new Set(names)].filter((name) => name !== '');
}
