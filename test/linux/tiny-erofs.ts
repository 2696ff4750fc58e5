import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const BLOCK = 512;

/**
 * The smallest EROFS image with a data file: `/file`, whose bytes are block 1 of the device. Written by hand, so that
 * mounting is tested without the writer that it serves.
 */
export function tinyErofs(dir: string, text: string): { readonly imageFd: number; readonly deviceFd: number } {
  const image = Buffer.alloc(8192);
  const superblock = 1024;
  image.writeUInt32LE(0xe0f5e1e2, superblock);
  image[superblock + 12] = 9;
  image.writeUInt16LE(0, superblock + 14);
  image.writeBigUInt64LE(2n, superblock + 16);
  image.writeUInt32LE(image.length / BLOCK, superblock + 36);
  image.writeUInt32LE(4, superblock + 40);
  image.writeUInt32LE(0x4 | 0x8, superblock + 80);
  image.writeUInt16LE(1, superblock + 86);
  image.writeUInt16LE(Math.ceil((superblock + 128) / 128), superblock + 88);
  image.writeUInt32LE(2, superblock + 128 + 64);

  const root = 4 * BLOCK;
  const names = ['.', '..', 'file'];
  const nids = [0, 0, 16];
  writeInode(image, root, { format: 1 | (2 << 1), mode: 0o40755, size: 12 * 3 + 7, nlink: 2, union: 0 });
  let nameAt = 12 * names.length;
  names.forEach((name, i) => {
    const entry = root + 64 + i * 12;
    image.writeBigUInt64LE(BigInt(nids[i] ?? 0), entry);
    image.writeUInt16LE(nameAt, entry + 8);
    image[entry + 10] = name === 'file' ? 1 : 2;
    nameAt += image.write(name, root + 64 + nameAt, 'latin1');
  });

  const file = root + 16 * 32;
  writeInode(image, file, { format: 1 | (4 << 1), mode: 0o100644, size: text.length, nlink: 1, union: 0x20 });
  image.writeUInt16LE(1, file + 64 + 2);
  image.writeUInt32LE(1, file + 64 + 4);

  const data = Buffer.alloc(2 * BLOCK);
  data.write(text, BLOCK);
  writeFileSync(join(dir, 'image.erofs'), image);
  writeFileSync(join(dir, 'data'), data);
  return { imageFd: openSync(join(dir, 'image.erofs'), 'r'), deviceFd: openSync(join(dir, 'data'), 'r') };
}

interface Inode {
  readonly format: number;
  readonly mode: number;
  readonly size: number;
  readonly nlink: number;
  readonly union: number;
}

function writeInode(image: Buffer, at: number, inode: Inode): void {
  image.writeUInt16LE(inode.format, at);
  image.writeUInt16LE(inode.mode, at + 4);
  image.writeBigUInt64LE(BigInt(inode.size), at + 8);
  image.writeUInt32LE(inode.union, at + 16);
  image.writeUInt32LE(inode.nlink, at + 44);
}
