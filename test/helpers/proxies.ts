/** Small proxies: HTTP's CONNECT and SOCKS 5 (RFC 1928, 1929). Whatever name is asked for is this machine, at the port asked for. */
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface TestProxy extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly host: string;
  /** `host:port` of each tunnel that was asked for. */
  readonly asked: readonly string[];
}

export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface ProxyOptions {
  readonly login?: Login;
  /** Answers CONNECT with this instead of a tunnel. */
  readonly refuse?: string;
  /** Accepts and never answers. */
  readonly silent?: boolean;
  /** The proxy itself speaks TLS. PEM. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export async function startConnectProxy({ login, refuse, silent, tls }: ProxyOptions = {}): Promise<TestProxy> {
  const asked: string[] = [];
  const server = tls === undefined ? createHttpServer() : createHttpsServer(tls);
  server.on('connect', ({ url = '', headers }, client: Socket) => {
    asked.push(url);
    if (silent === true) return;
    if (refuse !== undefined) return client.end(refuse);
    const sent = headers['proxy-authorization'];
    if (
      login !== undefined &&
      sent !== `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`
    )
      return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="p"\r\n\r\n');
    return join(client, Number(url.slice(url.lastIndexOf(':') + 1)), 'HTTP/1.1 200 Connection established\r\n\r\n');
  });
  return listen(server, asked);
}

export async function startSocksProxy({ login }: ProxyOptions = {}): Promise<TestProxy> {
  const asked: string[] = [];
  const server = createServer((client) => {
    serveSocks(client, asked, login).catch(() => client.destroy());
  });
  return listen(server, asked);
}

async function serveSocks(client: Socket, asked: string[], login: Login | undefined): Promise<void> {
  client.on('error', () => {});
  const [, methods = 0] = await read(client, 2);
  await read(client, methods);
  client.write(Buffer.from([5, login === undefined ? 0 : 2]));
  if (login !== undefined) {
    const [, length = 0] = await read(client, 2);
    const name = (await read(client, length)).toString();
    const password = (await read(client, (await read(client, 1))[0] ?? 0)).toString();
    const good = name === login.username && password === login.password;
    client.write(Buffer.from([1, good ? 0 : 1]));
    if (!good) return void client.end();
  }
  const [, , , type = 0] = await read(client, 4);
  const length = type === 1 ? 4 : type === 4 ? 16 : ((await read(client, 1))[0] ?? 0);
  const address = await read(client, length);
  const port = (await read(client, 2)).readUInt16BE();
  asked.push(`${type === 3 ? address.toString() : address.toString('hex')}:${port}`);
  join(client, port, Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
}

async function read(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes: Buffer | null = length === 0 ? Buffer.alloc(0) : socket.read(length);
    if (bytes !== null) return bytes;
    await new Promise((resolve, reject) => {
      socket.once('readable', resolve);
      socket.once('close', () => reject(new Error('closed')));
    });
  }
}

function join(client: Socket, port: number, hello: string | Buffer): void {
  client.on('error', () => {});
  const upstream = connect(port, '127.0.0.1', () => {
    client.write(hello);
    client.pipe(upstream).pipe(client);
  });
  upstream.on('error', () => client.destroy());
  client.on('close', () => upstream.destroy());
}

async function listen(server: Server, asked: readonly string[]): Promise<TestProxy> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
