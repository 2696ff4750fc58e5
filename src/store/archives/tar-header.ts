/**
 * Headers of the archives that larder writes: ustar (POSIX.1-1988), with GNU's binary form for sizes that eleven octal
 * digits do not hold. Owner 0, time 0: the same image gives the same bytes.
 */
import { LarderError } from '../../errors.js';

export const TAR_BLOCK = 512;
/** Two empty blocks end a tar. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK);

const MAX_NAME = 100;
const MAX_OCTAL = 0o77777777777;

export function fileHeader(name: string, size: number): Buffer {
  return header(name, size, '0', 0o444);
}

/** `name` ends with a slash. */
export function directoryHeader(name: string): Buffer {
  return header(name, 0, '5', 0o755);
}

/** What follows a member's content until the next header. */
export function paddingOf(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

function header(name: string, size: number, type: string, mode: number): Buffer {
  if (Buffer.byteLength(name) > MAX_NAME) throw new LarderError('LARDER_INTERNAL', `write archive: ${name}: too long`);
  const block = Buffer.alloc(TAR_BLOCK);
  block.write(name, 0);
  octal(block, 100, 8, mode);
  octal(block, 108, 8, 0);
  octal(block, 116, 8, 0);
  if (size <= MAX_OCTAL) octal(block, 124, 12, size);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(block, 136, 12, 0);
  block.write(type, 156);
  block.write('ustar\x0000', 257, 'latin1');
  // The sum counts its own place as blanks.
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function octal(block: Buffer, at: number, width: number, value: number): void {
  block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
}
