/**
 * Records as JSON, for the files from which a lost database is made again. What is read was on a disk that may lie, so
 * each value passes its own parser; whether the rest of the store agrees is for the rebuild to find out. A second line has
 * the SHA-256 of the first: a name with one wrong letter would be a name, too. Older files have the first line only.
 */
import { LarderError } from '../errors.js';
import { type ContainerId, parseContainerId } from '../spec/container-id.js';
import { type Digest, digestOf, hexOf, parseDiffId, parseDigest } from '../spec/digest.js';
import type { ImageType } from '../spec/image.js';
import { parseJson } from '../spec/json.js';
import { parseLayerView, type StackLayer, stackLayer } from '../spec/stack.js';
import type { ClaimedImage, ClaimRecord, ImageLayer, ImageRecord } from './records.js';

/** An image has at most some hundreds of layers; a container as many images as volumes. */
export const MAX_RECORD_BYTES = 16 * 2 ** 20;

export function formatRecord(record: ImageRecord | ClaimRecord): Uint8Array {
  const line = `${JSON.stringify(record)}\n`;
  return Buffer.from(`${line}${checksumOf(Buffer.from(line))}`);
}

/** Rejects with LARDER_METADATA_CORRUPT. */
export function parseImageRecord(bytes: Uint8Array, doing: string): ImageRecord {
  return guarded(doing, () => {
    const value = objectOf(parse(bytes, doing));
    const extraBlobs = listOf(value['extraBlobs'] ?? []).map(digest);
    const layers = listOf(value['layers']).map(imageLayer);
    if (new Set(layers.map(({ diffId }) => diffId)).size < layers.length)
      throw new TypeError('a layer is listed twice');
    return {
      type: imageType(value['type']),
      reference: text(value['reference']),
      platform: text(value['platform']),
      digest: digest(value['digest']),
      manifest: digest(value['manifest']),
      config: digest(value['config']),
      layers,
      createdAtMs: count(value['createdAtMs']),
      lastUsedAtMs: count(value['lastUsedAtMs']),
      ...(extraBlobs.length === 0 ? {} : { extraBlobs }),
      ...(value['pinned'] === true ? { pinned: true } : {}),
    };
  });
}

/** Rejects with LARDER_METADATA_CORRUPT, also when it is another container's. */
export function parseClaimRecord(bytes: Uint8Array, container: ContainerId, doing: string): ClaimRecord {
  return guarded(doing, () => {
    const value = objectOf(parse(bytes, doing));
    if (parseContainerId(text(value['container'])) !== container) throw new TypeError('it is of another container');
    return {
      container,
      owner: text(value['owner']),
      images: listOf(value['images']).map(claimedImage),
      blobs: listOf(value['blobs']).map(digest),
      createdAtMs: count(value['createdAtMs']),
    };
  });
}

function imageLayer(item: unknown): ImageLayer {
  const value = objectOf(item);
  return {
    ...stack(value),
    digest: digest(value['digest']),
    size: count(value['size']),
    mediaType: text(value['mediaType']),
  };
}

function claimedImage(item: unknown): ClaimedImage {
  const value = objectOf(item);
  const mergedKey = value['mergedKey'];
  return {
    name: text(value['name']),
    type: imageType(value['type']),
    reference: text(value['reference']),
    platform: text(value['platform']),
    backend: text(value['backend']),
    rootfs: text(value['rootfs']),
    layers: listOf(value['layers']).map((layer) => stack(objectOf(layer))),
    mergedKey: mergedKey === undefined ? undefined : text(mergedKey),
  };
}

function stack(value: Readonly<Record<string, unknown>>): StackLayer {
  const view = value['view'];
  return stackLayer(parseDiffId(text(value['diffId'])), view === undefined ? undefined : parseLayerView(text(view)));
}

function parse(bytes: Uint8Array, doing: string): unknown {
  const end = bytes.indexOf(0x0a) + 1;
  const [line, rest] = [bytes.subarray(0, end), Buffer.from(bytes.subarray(end)).toString('latin1')];
  if (end === 0 || (rest !== '' && rest !== checksumOf(line))) {
    throw new LarderError('LARDER_METADATA_CORRUPT', `${doing}: not as it was written`);
  }
  return parseJson(line, { doing, maxBytes: MAX_RECORD_BYTES, code: 'LARDER_METADATA_CORRUPT' });
}

function checksumOf(line: Uint8Array): string {
  return `${hexOf(digestOf(line))}\n`;
}

function guarded<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new LarderError('LARDER_METADATA_CORRUPT', `${doing}: ${why}`, { cause: error });
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new TypeError('not an object');
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new TypeError('not a list');
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new TypeError('not a text');
}

function count(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError('not a whole number');
}

function digest(value: unknown): Digest {
  return parseDigest(text(value));
}

function imageType(value: unknown): ImageType {
  if (value === 'docker' || value === 'appc') return value;
  throw new TypeError('not an image type');
}
