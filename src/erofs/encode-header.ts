/** The image up to its metadata area: superblock and device table. */

import { Buffer } from 'node:buffer';
import { u32 } from '../bytes.js';
import { BLOCK, BLOCK_BITS, DEVICE_SLOT, FEATURE_COMPAT, FEATURE_INCOMPAT, SB, SUPERBLOCK } from './constants.js';
import { crc32c } from './crc32c.js';
import type { ImageLayout } from './layout.js';

export interface ImageIdentity {
  readonly uuid: Uint8Array;
  /** Per layer: what the device slots of its data files say, at most 64 bytes of ASCII. */
  readonly tags: readonly string[];
}

export function encodeHeader(layout: ImageLayout, identity: ImageIdentity): Uint8Array {
  const bytes = Buffer.alloc(layout.metaStart);
  const sb = bytes.subarray(SUPERBLOCK.offset);
  const { devices, tree } = layout;
  sb.writeUInt32LE(SUPERBLOCK.magic, SB.magic);
  sb.writeUInt32LE(FEATURE_COMPAT, SB.featureCompat);
  sb[SB.blockBits] = BLOCK_BITS;
  sb.writeUInt16LE(u32(layout.nid, 0), SB.rootNid);
  sb.writeUInt32LE(tree.inodeCount, SB.inodes);
  sb.writeUInt32LE(layout.byteLength / BLOCK, SB.blocks);
  sb.writeUInt32LE(layout.metaStart / BLOCK, SB.metaBlock);
  sb.set(identity.uuid, SB.uuid);
  sb.write('larder', SB.volumeName, 'ascii');
  const features = FEATURE_INCOMPAT.chunkedFile | (devices.length > 0 ? FEATURE_INCOMPAT.deviceTable : 0);
  sb.writeUInt32LE(features, SB.featureIncompat);
  sb.writeUInt16LE(devices.length, SB.extraDevices);
  sb.writeUInt16LE((SUPERBLOCK.offset + SUPERBLOCK.bytes) / DEVICE_SLOT.bytes, SB.deviceTableSlot);
  devices.forEach(({ layer, source }, i) => {
    const slot = sb.subarray(SUPERBLOCK.bytes + i * DEVICE_SLOT.bytes);
    const index = tree.layers[layer];
    const size = (source === 'tar' ? index?.tarSize : index?.extraSize) ?? 0;
    slot.write(identity.tags[layer] ?? '', 0, DEVICE_SLOT.tagBytes, 'ascii');
    slot.writeUInt32LE(Math.min(Math.ceil(size / BLOCK), 0xffffffff), DEVICE_SLOT.blocks);
  });
  sb.writeUInt32LE(crc32c(0xffffffff, sb.subarray(0, SUPERBLOCK.checkedBytes)), SB.checksum);
  return bytes;
}
