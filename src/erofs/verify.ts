/** What the head of a metadata image says of itself. The image's own SHA-256, in its record, proves the rest (I10). */
import { Buffer } from 'node:buffer';
import { LarderError } from '../errors.js';
import { BLOCK, BLOCK_BITS, SB, SUPERBLOCK } from './constants.js';
import { crc32c } from './crc32c.js';

/** How many bytes of an image {@link checkErofs} needs. */
export const EROFS_HEAD_BYTES = SUPERBLOCK.offset + SUPERBLOCK.checkedBytes;

export interface ErofsHead {
  readonly uuid: Uint8Array;
  readonly deviceCount: number;
  readonly inodeCount: number;
  /** Length that the image must have. */
  readonly byteLength: number;
}

/**
 * @param head The first {@link EROFS_HEAD_BYTES} of an image, or more.
 * @throws LARDER_METADATA_CORRUPT when it is not the head of an image that this program wrote, or was changed.
 */
export function checkErofs(head: Uint8Array): ErofsHead {
  if (head.length < EROFS_HEAD_BYTES) throw corrupt(`it has ${head.length} bytes`);
  const sb = Buffer.from(head.subarray(SUPERBLOCK.offset, EROFS_HEAD_BYTES));
  if (sb.readUInt32LE(SB.magic) !== SUPERBLOCK.magic) throw corrupt('no EROFS superblock');
  const expected = sb.readUInt32LE(SB.checksum);
  sb.writeUInt32LE(0, SB.checksum);
  if (crc32c(0xffffffff, sb) !== expected) throw corrupt('its superblock does not match its checksum');
  if (sb[SB.blockBits] !== BLOCK_BITS) throw corrupt(`blocks of 2^${sb[SB.blockBits]} bytes`);
  return {
    uuid: Uint8Array.from(sb.subarray(SB.uuid, SB.uuid + 16)),
    deviceCount: sb.readUInt16LE(SB.extraDevices),
    inodeCount: Number(sb.readBigUInt64LE(SB.inodes)),
    byteLength: sb.readUInt32LE(SB.blocks) * BLOCK,
  };
}

function corrupt(why: string): LarderError {
  return new LarderError('LARDER_METADATA_CORRUPT', `checking an EROFS image: its head: ${why}`);
}
