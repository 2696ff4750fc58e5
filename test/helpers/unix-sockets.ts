/** Unix sockets as a service manager has them, which Node cannot make: through koffi, as the daemon does its part. */
import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;

const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
const libc = koffi.load(null);

/** Listens, with nobody in this process to accept. Answers the descriptor, which the caller closes. */
export function listeningSocket(path: string): number {
  const fd = boundSocket(path, SOCK_STREAM);
  if (libc.func('int listen(int, int)')(fd, 16) !== 0) throw new Error(`listen at ${path}: errno ${koffi.errno()}`);
  return fd;
}

export class DatagramSocket implements Disposable {
  readonly path: string;
  readonly #fd: number;

  constructor(path: string) {
    this.path = path;
    this.#fd = boundSocket(path, SOCK_DGRAM);
  }

  /** What has come by now. */
  receiveAll(): string[] {
    const recv = libc.func('int64_t recv(int, void *, size_t, int)');
    const messages: string[] = [];
    for (;;) {
      const buffer = Buffer.alloc(4096);
      const length = Number(recv(this.#fd, buffer, buffer.length, MSG_DONTWAIT));
      if (length < 0) return messages;
      messages.push(buffer.toString('utf8', 0, length));
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function boundSocket(path: string, type: number): number {
  const fd: number = libc.func('int socket(int, int, int)')(AF_UNIX, type | CLOEXEC, 0);
  const address = Buffer.concat([Buffer.from(new Uint16Array([AF_UNIX]).buffer), Buffer.from(`${path}\0`)]);
  const bound: number = libc.func('int bind(int, const void *, uint32_t)')(fd, address, address.length);
  if (fd < 0 || bound !== 0) throw new Error(`bind ${path}: errno ${koffi.errno()}`);
  return fd;
}
