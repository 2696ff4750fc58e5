import type { ContentStore } from '../../content/content-store.js';
import { isLarderError } from '../../errors.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import type { ImageRecord } from '../../metadata/records.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../../spec/appc-name.js';
import { type AppcImageId, digestOfImageId, imageIdOf } from '../../spec/appc-types.js';
import type { DiffId, Digest } from '../../spec/digest.js';
import { parseAppcDocument } from './appc-document.js';

/** One ACI by what it is on disk. */
export interface AciOnDisk {
  readonly id: AppcImageId;
  readonly diffId: DiffId;
  readonly manifest: Digest;
  /** Bytes as transferred. */
  readonly size: number;
}

export interface FindParts {
  readonly metadata: MetadataManager;
  readonly content: ContentStore;
}

/**
 * What the records know of the image that is asked for; nothing of it is looked for on disk. A name is found under its
 * own record. An id is found in any: as the image itself, under whatever name it came, or among the images that it is
 * made of, whose own records may be gone.
 */
export async function* findAci(request: AppcRequest, { metadata, content }: FindParts): AsyncIterable<AciOnDisk> {
  const { id } = request;
  if (id === undefined) {
    const record = metadata.get(formatAppcRequest(request), true, platformOfRequest(request));
    if (record !== undefined) yield* topOf(record);
    return;
  }
  const digest = digestOfImageId(id);
  const records = [...metadata.list()].filter((record) => record.layers.some((layer) => layer.digest === digest));
  for (const record of records) if (record.layers.at(-1)?.digest === digest) yield* topOf(record);
  for (const record of records) {
    const layer = record.layers.find((each) => each.digest === digest);
    const manifest = await manifestIn(record, id, content);
    if (layer !== undefined && manifest !== undefined) yield { id, diffId: layer.diffId, manifest, size: layer.size };
  }
}

function topOf({ layers, manifest }: ImageRecord): AciOnDisk[] {
  const top = layers.at(-1);
  return top === undefined ? [] : [{ id: imageIdOf(top.digest), diffId: top.diffId, manifest, size: top.size }];
}

/** Undefined when the record's document is gone or damaged: then it does not help. */
async function manifestIn(record: ImageRecord, id: AppcImageId, content: ContentStore): Promise<Digest | undefined> {
  try {
    const document = await content.find(record.config);
    if (document === undefined) return undefined;
    return parseAppcDocument(document).find((member) => member.id === id)?.manifest;
  } catch (error) {
    if (isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH', 'LARDER_MANIFEST_INVALID'))
      return undefined;
    throw error;
  }
}
