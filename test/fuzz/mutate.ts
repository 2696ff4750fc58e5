/** Mutations of bytes, for any input. */
import type { Random } from './random.js';

const MAX_BYTES = 256 * 1024;
const INTERESTING = [
  0, 1, 0x20, 0x22, 0x2d, 0x2e, 0x2f, 0x30, 0x37, 0x39, 0x3a, 0x3d, 0x0a, 0x0d, 0x5c, 0x7f, 0x80, 0xff,
];

/** The input, changed in one place; seldom made very long, which is what shows time that does not grow with the bytes. */
export function mutateBytes(input: Buffer, random: Random, words: readonly string[] = []): Buffer {
  const at = random.below(input.length + 1);
  const end = Math.min(input.length, at + 1 + random.below(random.oneIn(4) ? 200 : 8));
  const splice = (piece: Uint8Array, to = end): Buffer =>
    Buffer.concat([input.subarray(0, at), piece, input.subarray(to)]).subarray(0, MAX_BYTES);
  const word = (): Buffer =>
    words.length > 0 && !random.oneIn(3) ? Buffer.from(random.pick(words)) : Buffer.from([random.pick(INTERESTING)]);
  switch (random.below(9)) {
    case 0:
      return Buffer.from(input.subarray(0, at));
    case 1:
      return splice(Buffer.alloc(0));
    case 2:
      return splice(input.subarray(at, end), at);
    case 3:
      return splice(word());
    case 4:
      return splice(word(), at);
    case 5:
      return splice(Buffer.from([(input[at] ?? 0) ^ (1 << random.below(8))]), at + 1);
    case 6:
      return splice(Buffer.from([random.pick(INTERESTING)]), at + 1);
    case 7: {
      const from = random.below(input.length + 1);
      return splice(input.subarray(from, from + (end - at)));
    }
    default: {
      if (!random.oneIn(20)) return splice(word(), at);
      const piece = random.oneIn(2) || at === end ? word() : input.subarray(at, end);
      return splice(Buffer.alloc(2 ** (6 + random.below(12)), piece), at);
    }
  }
}
