/** A registry that hands its bytes out slowly and counts each of them, and each request: what a pull has cost. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { digestOf } from '../../src/spec/digest.js';
import type { BuiltImage } from '../../src/testing/image-builder.js';

/** Handed to the socket at once. */
const PIECE_BYTES = 16 << 10;

interface Stored {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

export interface PacedRegistryOptions {
  /** Between two pieces of 16 KiB of one answer; a late timer is not caught up with. 0: as fast as they are taken. */
  readonly pauseMs: number;
}

export class PacedRegistry implements AsyncDisposable {
  readonly #server: Server;
  readonly #pauseMs: number;
  readonly #sockets = new Set<Socket>();
  /** By the last part of the path. */
  readonly #manifests = new Map<string, Stored>();
  readonly #blobs = new Map<string, Stored>();
  readonly #gets = new Map<string, number>();
  #bytes = 0;
  #frozen: Promise<void> = Promise.resolve();
  #hooks: { readonly bytes: number; readonly then: () => void }[] = [];

  private constructor(server: Server, { pauseMs }: PacedRegistryOptions) {
    this.#server = server;
    this.#pauseMs = pauseMs;
  }

  static async start(options: PacedRegistryOptions): Promise<PacedRegistry> {
    const server = createServer();
    const registry = new PacedRegistry(server, options);
    server.on('request', (request, response) => {
      registry
        .#serve(request, response)
        .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
    });
    server.on('connection', (socket) => {
      registry.#sockets.add(socket);
      socket.on('error', () => {}).on('close', () => registry.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Of all bodies, handed to sockets, whether somebody was left to take them or not. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How often each thing was asked for with GET, by the last part of its path. */
  get gets(): ReadonlyMap<string, number> {
    return this.#gets;
  }

  /** The reference of the image. */
  add(name: string, image: BuiltImage): string {
    const manifest = { bytes: image.manifest, mediaType: image.mediaType };
    this.#manifests.set(`${name}:latest`, manifest).set(`${name}:${digestOf(image.manifest)}`, manifest);
    for (const bytes of image.blobs) this.#blobs.set(digestOf(bytes), { bytes, mediaType: 'application/octet-stream' });
    return `${this.host}/${name}:latest`;
  }

  /** Hands nothing out until the answer is called. */
  freeze(): () => void {
    let thaw = (): void => {};
    this.#frozen = new Promise((resolve) => {
      thaw = resolve;
    });
    return thaw;
  }

  /** Bytes of answers that nobody has read: in this process, and in the kernel's buffers of the readers. */
  get unread(): number {
    const here = [...this.#sockets].reduce((sum, { writableLength }) => sum + writableLength, 0);
    const port = (this.#server.address() as AddressInfo).port.toString(16).toUpperCase().padStart(4, '0');
    // proc(5): sl local remote state tx_queue:rx_queue, all hexadecimal.
    const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
    const readers = lines
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , remote]) => remote?.endsWith(`:${port}`));
    const there = readers.map(([, , , , queues = '']) => Number.parseInt(queues.split(':')[1] ?? '0', 16));
    return there.reduce((sum, bytes) => sum + bytes, here);
  }

  /** Calls `then` as soon as so many bytes have been handed out; once. */
  at(bytes: number, then: () => void): void {
    this.#hooks.push({ bytes, then });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #serve({ method, url = '', headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, name = '', kind, wanted = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)$/.exec(url) ?? [];
    const stored = kind === 'manifests' ? this.#manifests.get(`${name}:${wanted}`) : this.#blobs.get(wanted);
    if (method === 'GET' && kind !== undefined) this.#gets.set(wanted, (this.#gets.get(wanted) ?? 0) + 1);
    if (stored === undefined) {
      response.writeHead(url === '/v2/' ? 200 : 404, { 'content-length': 0 }).end();
      return;
    }
    const { bytes, mediaType } = stored;
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
    const [start, end] = [Number(from), to === '' ? bytes.length : Number(to) + 1];
    const partial = headers.range === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` };
    response.writeHead(headers.range === undefined ? 200 : 206, {
      'content-type': mediaType,
      'content-length': end - start,
      'accept-ranges': 'bytes',
      'docker-content-digest': digestOf(bytes),
      ...partial,
    });
    if (method === 'GET') await this.#send(response, bytes.subarray(start, end));
    response.end();
  }

  async #send(response: ServerResponse, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length && !response.destroyed; done += PIECE_BYTES) {
      await this.#frozen;
      const piece = bytes.subarray(done, done + PIECE_BYTES);
      const taken = response.write(piece);
      this.#bytes += piece.length;
      this.#tell();
      if (!taken) await taking(response);
      if (this.#pauseMs > 0) await delay(this.#pauseMs);
    }
  }

  #tell(): void {
    const due = this.#hooks.filter(({ bytes }) => this.#bytes >= bytes);
    this.#hooks = this.#hooks.filter(({ bytes }) => this.#bytes < bytes);
    for (const { then } of due) then();
  }
}

/** Until more can be written, or nothing any more. */
function taking(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}
