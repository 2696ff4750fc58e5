/** A stretch of network in front of a server: counts what comes through, and can be cut after so many bytes. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class Wire implements AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly host: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  #bytes = 0;
  #after = Number.POSITIVE_INFINITY;
  #then: () => Promise<void> = async () => {};
  #acting = false;

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
    this.#after = bytes;
    this.#then = async () => {
      this.#cut();
      onCut();
    };
  }

  /** Once, after so many bytes, does it before any more come through. Resolves when it is done. */
  doAfter(bytes: number, act: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#after = bytes;
      this.#then = () => act().then(resolve, reject);
    });
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
      if (this.#bytes < this.#after) return;
      this.#after = Number.POSITIVE_INFINITY;
      void this.#act(server);
    });
    client.on('drain', () => {
      if (!this.#acting) server.resume();
    });
  }

  async #act(server: Socket): Promise<void> {
    this.#acting = true;
    server.pause();
    await this.#then();
    this.#acting = false;
    server.resume();
  }

  #cut(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
