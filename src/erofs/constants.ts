/**
 * The on-disk numbers of EROFS that an image of larder uses, all little-endian. Source: `fs/erofs/erofs_fs.h` of Linux
 * and <https://erofs.docs.kernel.org/en/latest/core_ondisk.html>.
 */
import { KIND } from '../tree/types.js';

/** 512, so that every file of a tar starts on a block. Linux mounts it from 6.4 on. */
export const BLOCK = 512;
export const BLOCK_BITS = 9;

/** The image's length is a multiple of it: erofs-utils cannot read the head of a file that ends before 4 KiB. */
export const IMAGE_UNIT = 4096;

export const SUPERBLOCK = {
  /** Byte of the image at which the superblock starts. */
  offset: 1024,
  bytes: 128,
  magic: 0xe0f5e1e2,
  /** The checksum covers the rest of the superblock's block: [1024, 1536) when blocks are smaller than 1 KiB. */
  checkedBytes: BLOCK,
} as const;

/** Offsets of fields in `struct erofs_super_block`. */
export const SB = {
  magic: 0,
  checksum: 4,
  featureCompat: 8,
  blockBits: 12,
  rootNid: 14,
  inodes: 16,
  blocks: 36,
  metaBlock: 40,
  uuid: 48,
  volumeName: 64,
  featureIncompat: 80,
  extraDevices: 86,
  deviceTableSlot: 88,
} as const;

/** SB_CHKSUM and MTIME. */
export const FEATURE_COMPAT = 0x1 | 0x2;
export const FEATURE_INCOMPAT = { chunkedFile: 0x4, deviceTable: 0x8 } as const;

/** `struct erofs_deviceslot`: tag, then blocks (u32), then mapped address (u32). */
export const DEVICE_SLOT = { bytes: 128, tagBytes: 64, blocks: 64 } as const;
/** Device ids are 16 bits and 0 is the image itself. */
export const MAX_DEVICES = 0xffff;

/** Node ids count units of 32 bytes from the start of the metadata area. */
export const NID_UNIT = 32;
/**
 * Where the first inode may start: ids 0 and 1 stay unused, since programs take an inode number of 0 for a deleted
 * entry. The root is the first, so that its id fits the superblock's 16 bits however large the image is.
 */
export const FIRST_NID = 2;

/** Offsets of fields in `struct erofs_inode_extended`. */
export const INODE = {
  bytes: 64,
  format: 0,
  xattrCount: 2,
  mode: 4,
  size: 8,
  union: 16,
  ino: 20,
  uid: 24,
  gid: 28,
  mtime: 32,
  mtimeNs: 40,
  nlink: 44,
} as const;

/** `i_format`: bit 0 says extended, bits 1 to 3 the data layout. */
export const FORMAT = { plain: 1, inline: 1 | (2 << 1), chunked: 1 | (4 << 1) } as const;

/** `erofs_inode_chunk_info.format`: five bits of log2(chunk / block), then this bit for 8-byte indexes. */
export const CHUNK_INDEXES = 0x20;
export const MAX_CHUNK_BITS = 31;
/** Ours, not the format's: so every inode with all that follows it fits into one piece of the image. */
export const MAX_CHUNKS = 65_536;
export const CHUNK_INDEX_BYTES = 8;
/** The block address of a chunk that is a hole; no data may start there. */
export const NULL_ADDRESS = 0xffffffff;

/** `struct erofs_dirent`: nid (u64), name offset (u16), file type (u8), reserved. */
export const DIRENT_BYTES = 12;
export const MAX_NAME_BYTES = 255;
/** One less than PATH_MAX: the kernel cuts a longer target silently. */
export const MAX_SYMLINK_BYTES = 4095;

/** `struct erofs_xattr_ibody_header`, and what precedes each name. */
export const XATTR = { headerBytes: 12, entryBytes: 4, maxNameBytes: 255, maxValueBytes: 0xffff } as const;
/** `i_xattr_icount` is 16 bits and counts the header as one and the rest in units of four. */
export const MAX_XATTR_BYTES = XATTR.headerBytes + (0xffff - 1) * 4;

/** What each KIND is in a mode and in a directory entry. */
export const TYPE_OF_KIND: Readonly<Record<number, { readonly mode: number; readonly dirent: number }>> = {
  [KIND.file]: { mode: 0o100000, dirent: 1 },
  [KIND.directory]: { mode: 0o040000, dirent: 2 },
  [KIND.character]: { mode: 0o020000, dirent: 3 },
  [KIND.block]: { mode: 0o060000, dirent: 4 },
  [KIND.fifo]: { mode: 0o010000, dirent: 5 },
  [KIND.symlink]: { mode: 0o120000, dirent: 7 },
};
