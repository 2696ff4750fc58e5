/**
 * Which data files a merged image needs, read back from the image itself, so that the order in which the kernel is
 * given them has one source. The image's checksum must have been verified. Its slots carry the DiffID's digits and the
 * length of the file; a layer's tar stands before its extra file.
 */
import type { FileHandle } from 'node:fs/promises';
import { DEVICE_SLOT, SB, SUPERBLOCK } from '../erofs/constants.js';
import type { LayerRecord } from '../metadata/records.js';
import { hexOf } from '../spec/digest.js';
import type { DataSource } from '../tree/types.js';

export interface DeviceSlot {
  /** Index into the image's layers. */
  readonly layer: number;
  readonly source: DataSource;
}

/** What a slot says of the layer that it belongs to. */
export function tagOf(diffId: LayerRecord['diffId']): string {
  return hexOf(diffId);
}

/** Undefined when the slots do not say clearly which files they mean; the image is then made again. */
export async function readDeviceTable(
  image: FileHandle,
  layers: readonly LayerRecord[],
): Promise<readonly DeviceSlot[] | undefined> {
  const sb = await readAt(image, SUPERBLOCK.offset, SUPERBLOCK.bytes);
  const count = sb?.readUInt16LE(SB.extraDevices);
  const slot = sb?.readUInt16LE(SB.deviceTableSlot);
  if (count === undefined || slot === undefined) return undefined;
  const table = await readAt(image, slot * DEVICE_SLOT.bytes, count * DEVICE_SLOT.bytes);
  if (table === undefined) return undefined;
  const byTag = new Map(layers.map(({ diffId }, layer) => [tagOf(diffId), layer]));
  const slots: DeviceSlot[] = [];
  for (let i = 0; i < count; i++) {
    const at = i * DEVICE_SLOT.bytes;
    const layer = byTag.get(table.toString('latin1', at, at + DEVICE_SLOT.tagBytes));
    const record = layer === undefined ? undefined : layers[layer];
    if (layer === undefined || record === undefined) return undefined;
    const source = sourceOf(record, table.readUInt32LE(at + DEVICE_SLOT.blocks));
    if (source === undefined) return undefined;
    slots.push({ layer, source });
  }
  return slots;
}

function sourceOf(record: LayerRecord, blocks: number): DataSource | undefined {
  const isTar = blocksOf(record.tarSize) === blocks;
  const isExtra = record.extraSize > 0 && blocksOf(record.extraSize) === blocks;
  if (isTar === isExtra) return undefined;
  return isTar ? 'tar' : 'extra';
}

function blocksOf(bytes: number): number {
  return Math.min(Math.ceil(bytes / 512), 0xffffffff);
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return bytesRead === length ? buffer : undefined;
}
