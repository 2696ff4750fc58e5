/**
 * A registry whose answers are any bytes: each request gets the next of them, and the connection is closed behind it.
 * Whatever comes, the client ends with what it asked for, verified, or with an error; and asks nobody else.
 */
import assert from 'node:assert/strict';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { isLarderError, LarderError } from '../../../src/errors.js';
import { fetchBlob } from '../../../src/registry/fetch-blob.js';
import { originOf, plainServer } from '../../../src/registry/hosts/endpoint.js';
import { RegistryClient } from '../../../src/registry/registry-client.js';
import { type Digest, digestOf } from '../../../src/spec/digest.js';
import { parseReference } from '../../../src/spec/reference.js';
import { buildImage } from '../../../src/testing/image-builder.js';
import { file, tar } from '../../../src/testing/tar-builder.js';
import { mutateBytes } from '../mutate.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

const NEXT = '\n~~~\n';
const OPERATIONS = ['resolve', 'head', 'config', 'size', 'blob', 'rest'] as const;
const IMAGE = buildImage({ layers: [{ tar: tar([file('a', 'b'.repeat(2000))]), compression: 'none' }] });
const BLOB = Buffer.from(IMAGE.layers[0]?.blob ?? '');
const DIGEST = digestOf(BLOB);
const OFFSET = 700;
/** Nobody waits as long as a server may ask for. */
const PATIENCE_MS = 400;
const NEVER_MS = 30_000;

const CODES = [
  'LARDER_REGISTRY_UNAVAILABLE',
  'LARDER_REGISTRY_UNAUTHENTICATED',
  'LARDER_REGISTRY_DENIED',
  'LARDER_REGISTRY_RATE_LIMITED',
  'LARDER_IMAGE_NOT_FOUND',
  'LARDER_BLOB_NOT_FOUND',
  'LARDER_MANIFEST_INVALID',
  'LARDER_MEDIA_TYPE_UNSUPPORTED',
  'LARDER_DIGEST_MISMATCH',
  'LARDER_SIZE_MISMATCH',
  'LARDER_POLICY_DENIED',
  'LARDER_TIMEOUT',
  'LARDER_ABORTED',
] as const;

export async function openRegistryTarget(): Promise<FuzzTarget> {
  const registry = new RawRegistry();
  await registry.listen();
  let runs = 0;
  return {
    name: 'registry',
    codes: CODES,
    timed: ['LARDER_ABORTED', 'LARDER_TIMEOUT'],
    short: { runs: 150, meets: ['ok', 'LARDER_REGISTRY_UNAVAILABLE', 'LARDER_MANIFEST_INVALID'] },
    words: WORDS,
    make: makeAnswers,
    mutate: mutateBytes,
    async run(input) {
      // A host of its own: what one asked for, as to be left alone, goes for nobody else.
      runs++;
      const host = `127.${1 + (runs >> 14)}.${(runs >> 7) & 127}.${1 + (runs & 127)}:${registry.port}`;
      registry.answers = answersIn(input, host);
      try {
        return await settles(ask(operationIn(input), host));
      } catch (error) {
        // How a connection ended is a matter of moments; what that is called is not.
        if (isLarderError(error, ...CODES)) throw new LarderError(error.code, 'refused');
        throw error;
      }
    },
    budgetMs: (input) => 1000 + input.length / 50,
    close: () => registry.close(),
  };
}

async function ask(operation: string, host: string): Promise<unknown> {
  const reference = parseReference(`${host}/team/app`);
  const client = new RegistryClient({
    hosts: { endpointsOf: async () => [originOf(reference, plainServer(host, { scheme: 'http', insecure: true }))] },
    // Nothing listens there: who is sent elsewhere gets nowhere.
    proxyFor: (url) => (url.hostname.startsWith('127.') ? undefined : 'http://127.0.0.1:1'),
    timeouts: { backoffMs: 1, stallMs: 5000, connectMs: 5000 },
  });
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const config = { mediaType: 'x', digest: IMAGE.configDigest, size: IMAGE.config.length };
  switch (operation) {
    case 'head':
      return client.head(reference, { signal });
    case 'size':
      return client.blobSize(reference, DIGEST, { signal });
    case 'config':
      return Buffer.from(await client.fetchSmallBlob(reference, config, { signal })).equals(Buffer.from(IMAGE.config));
    case 'blob':
    case 'rest':
      return lengthOf(client, reference, operation === 'rest' ? OFFSET : 0, signal);
    default: {
      const { digest, bytes } = await client.resolve(reference, { signal });
      assert.equal(digest, digestOf(bytes));
      return digest;
    }
  }
}

/** Nothing verifies these bytes but their number: who fetches a layer hashes it. */
async function lengthOf(
  client: RegistryClient,
  reference: ReturnType<typeof parseReference>,
  offset: number,
  signal: AbortSignal,
): Promise<number> {
  const broker = client.broker(reference, { signal });
  let length = 0;
  const blob: { digest: Digest; size: number } = { digest: DIGEST, size: BLOB.length };
  for await (const chunk of fetchBlob(blob, offset, (request) => broker.ask(request), { signal }))
    length += chunk.length;
  assert.equal(length, BLOB.length - offset);
  return length;
}

async function settles<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const never = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('it never ended')), NEVER_MS);
  });
  try {
    return await Promise.race([work, never]);
  } finally {
    clearTimeout(timer);
  }
}

function operationIn(input: Buffer): string {
  const end = input.indexOf(NEXT);
  return input.subarray(0, end < 0 ? 0 : Math.min(end, 20)).toString('latin1');
}

function answersIn(input: Buffer, host: string): Buffer[] {
  const [, ...answers] = input.toString('latin1').split(NEXT);
  return answers.map((answer) => Buffer.from(answer.replaceAll('HOST', host), 'latin1'));
}

class RawRegistry {
  answers: Buffer[] = [];
  readonly #server: Server = createServer((socket) => this.#serve(socket));
  readonly #sockets = new Set<Socket>();

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '0.0.0.0', resolve));
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.once('data', () =>
      socket.end((this.answers.length > 1 ? this.answers.shift() : this.answers[0]) ?? Buffer.alloc(0)),
    );
  }
}

const MANIFEST = Buffer.from(IMAGE.manifest);
const TOKEN = Buffer.from('{"token":"abc","expires_in":60}');
const WORDS = [
  'HTTP/1.1 ',
  '200 OK',
  '206 Partial',
  '301 x',
  '307 x',
  '401 x',
  '404 x',
  '416 x',
  '429 x',
  '500 x',
  '\r\n',
  '\r\n\r\n',
  'Location: ',
  'http://HOST/',
  '//HOST',
  'https://HOST/',
  'file:///etc/passwd',
  'Content-Length: ',
  'Content-Range: bytes ',
  'Transfer-Encoding: chunked',
  'Content-Encoding: gzip',
  'Content-Type: ',
  'WWW-Authenticate: ',
  'Bearer realm="http://HOST/t"',
  'Basic realm="x"',
  'Retry-After: 0',
  'Retry-After: 1',
  'Docker-Content-Digest: ',
  NEXT,
  '-1',
  '99999999999999999999',
  '*',
];

function makeAnswers(random: Random): Buffer {
  const operation = random.pick(OPERATIONS);
  const before = Array.from({ length: random.below(3) }, () => random.pick(PRELUDES));
  return Buffer.concat([
    Buffer.from(operation),
    ...[...before, ...last(operation, random)].flatMap((one) => [Buffer.from(NEXT), one]),
  ]);
}

const PRELUDES: readonly Buffer[] = [
  answer('307 Temporary Redirect', { Location: 'http://HOST/elsewhere' }),
  answer('302 Found', { Location: '/v2/other' }),
  answer('503 Unavailable', { 'Retry-After': '0' }, Buffer.from('{"errors":[{"code":"X","message":"m"}]}')),
  answer('429 Too Many', { 'Retry-After': '0' }),
  answer('401 Unauthorized', { 'WWW-Authenticate': 'Bearer realm="http://HOST/token",service="r"' }),
  answer('200 OK', { 'Content-Type': 'application/json' }, TOKEN),
  answer('206 Partial Content', { 'Content-Range': `bytes 0-99/${BLOB.length}` }, BLOB.subarray(0, 100)),
  answer('200 OK', { 'Content-Length': String(BLOB.length) }, BLOB.subarray(0, 1000)),
  Buffer.from('HTTP/1.1 100 Continue\r\n\r\n'),
];

function last(operation: string, random: Random): Buffer[] {
  const manifest = answer(
    '200 OK',
    { 'Content-Type': IMAGE.mediaType, 'Docker-Content-Digest': IMAGE.digest },
    MANIFEST,
  );
  const chunked = Buffer.concat([
    answer('200 OK', { 'Transfer-Encoding': 'chunked', 'Content-Length': '' }),
    Buffer.from(`${BLOB.length.toString(16)}\r\n`),
    BLOB,
    Buffer.from('\r\n0\r\n\r\n'),
  ]);
  const range = { 'Content-Range': `bytes ${OFFSET}-${BLOB.length - 1}/${BLOB.length}` };
  if (operation === 'config') return [answer('200 OK', {}, Buffer.from(IMAGE.config))];
  if (operation === 'blob') return [random.oneIn(2) ? chunked : answer('200 OK', {}, BLOB)];
  if (operation === 'rest') return [answer('206 Partial Content', range, BLOB.subarray(OFFSET))];
  return [manifest];
}

/** An empty value leaves the header out. */
function answer(status: string, headers: Readonly<Record<string, string>>, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const all = Object.entries({ 'Content-Length': String(body.length), ...headers }).filter(([, value]) => value !== '');
  const head = [`HTTP/1.1 ${status}`, ...all.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
}
