import type { InflaterOut } from './inflater.js';

/** A decoder whose calls are over when they return. */
export interface SyncInflater {
  write(chunk: Uint8Array, out: InflaterOut): void;
  end(out: InflaterOut): void;
  close(): void;
}

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
export function passesSelfTest(open: () => SyncInflater, test: SelfTest): boolean {
  const { stream, expected, refused, pieceBytes } = test;
  return (
    inflateAll(open(), stream, pieceBytes)?.equals(expected) === true &&
    refused.every((damaged) => inflateAll(open(), damaged, pieceBytes) === undefined)
  );
}

/** Undefined when the stream is refused. */
function inflateAll(inflater: SyncInflater, stream: Uint8Array, pieceBytes: number): Buffer | undefined {
  const pieces: Buffer[] = [];
  const out: InflaterOut = (bytes) => void pieces.push(Buffer.from(bytes));
  try {
    for (let i = 0; i < stream.length; i += pieceBytes) inflater.write(stream.subarray(i, i + pieceBytes), out);
    inflater.end(out);
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
