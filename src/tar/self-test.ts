import type { Inflater, InflaterOut } from './inflater.js';

export interface SelfTest {
  /** A stream, and the bytes that it must give. */
  readonly stream: Uint8Array;
  readonly expected: Uint8Array;
  /** Damaged and cut streams: each must be refused. */
  readonly refused: readonly Uint8Array[];
  /** How many bytes it is given at a time: odd, so that nothing comes at a boundary. */
  readonly pieceBytes: number;
}

/** Tries a library of the host before it is trusted. `open` answers a new decoder for each stream. */
export async function passesSelfTest(open: () => Inflater, test: SelfTest): Promise<boolean> {
  const { stream, expected, refused, pieceBytes } = test;
  if ((await inflateAll(open(), stream, pieceBytes))?.equals(expected) !== true) return false;
  for (const damaged of refused) if ((await inflateAll(open(), damaged, pieceBytes)) !== undefined) return false;
  return true;
}

/** Undefined when the stream is refused. */
async function inflateAll(inflater: Inflater, stream: Uint8Array, pieceBytes: number): Promise<Buffer | undefined> {
  const pieces: Buffer[] = [];
  const out: InflaterOut = (bytes) => void pieces.push(Buffer.from(bytes));
  try {
    for (let i = 0; i < stream.length; i += pieceBytes) await inflater.write(stream.subarray(i, i + pieceBytes), out);
    await inflater.end(out);
    return Buffer.concat(pieces);
  } catch {
    // The caller compares: a refusal is an answer here.
    return undefined;
  } finally {
    inflater.close();
  }
}

/** `bytes` with one bit of the byte at `place` turned. */
export function flipped(bytes: Uint8Array, place: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(place) ^ 1, place);
  return copy;
}
