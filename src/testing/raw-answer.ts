/** Answers that no HTTP library would send, written to the socket as they are. */
import type { Socket } from 'node:net';
import type { RegistryFault, TrueAnswer } from './registry-fault.js';

/** A fault that writes what it likes; what is sent after the peer has gone is dropped. */
export function raw(respond: (socket: Socket, truth: TrueAnswer) => void): RegistryFault {
  return { kind: 'raw', respond };
}

/** Some bytes, and then the connection's end. */
export function bytesThenEnd(bytesOf: (truth: TrueAnswer) => string | Buffer): RegistryFault {
  return raw((socket, truth) => void socket.end(bytesOf(truth)));
}

/** Status line and headers with the empty line; `headers` come on top of the true ones, which have no length. */
export function headOf({ status, headers }: TrueAnswer, more: readonly string[], version = 'HTTP/1.1'): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return [`${version} ${status} Whatever`, ...lines, ...more, '', ''].join('\r\n');
}

/** One chunk of `Transfer-Encoding: chunked`. */
export function chunk(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

/** Writes as fast as it is taken, until the peer has gone. */
export function pour(socket: Socket, piece: Uint8Array): void {
  const more = (): void => {
    while (!socket.destroyed && socket.writable && socket.write(piece));
    if (!socket.destroyed) socket.once('drain', more);
  };
  more();
}

/** Writes a piece every so many milliseconds, until there is none or the peer has gone; then `end`. */
export function drip(socket: Socket, pieces: Iterator<Uint8Array | string>, everyMs: number): void {
  const timer = setInterval(() => {
    const next = pieces.next();
    if (next.done === true || socket.destroyed) {
      clearInterval(timer);
      socket.end();
    } else {
      socket.write(next.value);
    }
  }, everyMs);
  socket.once('close', () => clearInterval(timer));
}

/** In so many pieces. */
export function* piecesOf(bytes: Buffer, count: number): Generator<Buffer> {
  const size = Math.max(1, Math.ceil(bytes.length / count));
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function* forever<T>(value: T): Generator<T> {
  for (;;) yield value;
}
