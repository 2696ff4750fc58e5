/** A stretch of network in front of a server: counts what comes through, and can be cut after so many bytes. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class Wire implements AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly host: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  #bytes = 0;
  #cutAfter = Number.POSITIVE_INFINITY;
  #onCut: () => void = () => {};

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.#port = port;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** To a port of the loopback. */
  static async to(host: string): Promise<Wire> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const wire = new Wire(server, Number(host.slice(host.lastIndexOf(':') + 1)));
    server.on('connection', (client) => wire.#join(client));
    return wire;
  }

  /** That came from the server, heads of answers included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** After so many bytes all connections break and none is taken any more. */
  cutAfter(bytes: number, onCut: () => void): void {
    this.#cutAfter = bytes;
    this.#onCut = onCut;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cut();
  }

  #join(client: Socket): void {
    const server = connect(this.#port, '127.0.0.1');
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.pipe(server);
    server.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (!client.write(chunk)) server.pause();
      if (this.#bytes < this.#cutAfter) return;
      this.#cut();
      this.#onCut();
    });
    client.on('drain', () => server.resume());
  }

  #cut(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
