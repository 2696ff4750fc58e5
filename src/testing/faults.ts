/** What registries, and who stands between, do wrong: each under a name, to be had at any place of a pull. */
import { gzipSync } from 'node:zlib';
import type { OtherHosts, StorageKind } from './other-hosts.js';
import { bytesThenEnd, chunk, drip, forever, headOf, piecesOf, pour, raw } from './raw-answer.js';
import type { RegistryFault } from './registry-fault.js';

/** What a fault may need to know of its surroundings. */
export interface FaultWorld {
  readonly hosts: OtherHosts;
  /** Of the registry: `http://host:port`. */
  readonly origin: string;
  /** Path and query of the request. */
  readonly url: string;
  /** What would be the body of the answer. */
  readonly bytes: Buffer;
  /** Of a storage server that has these bytes. */
  readonly signedUrl: (kind?: StorageKind) => string;
}

export interface Fault {
  /** What the answer is like. */
  readonly what: string;
  /** How many answers are like that, from the first on; default all. */
  readonly times?: number;
  /** What nobody has logged in for is answered so, too. */
  readonly anybody?: true;
  /** The client has to wait out its time limit for silence. */
  readonly silent?: true;
  /** `nth` counts from 0; undefined is the true answer. */
  readonly answer: (world: FaultWorld, nth: number) => RegistryFault | undefined;
}

const half = ({ bytes }: FaultWorld): number => bytes.length >> 1;
const always =
  (fault: RegistryFault): Fault['answer'] =>
  () =>
    fault;
const status = (code: number, headers: Record<string, string> = {}): Fault['answer'] =>
  always({ kind: 'status', status: code, headers });
const redirect = (location: string): Fault['answer'] => always({ kind: 'redirect', location });
const toStorage =
  (kind?: StorageKind): Fault['answer'] =>
  ({ signedUrl }) => ({ kind: 'redirect', location: signedUrl(kind) });
const challenge =
  (realmOf: (world: FaultWorld) => string): Fault['answer'] =>
  (world) => {
    const header = `Bearer realm="${realmOf(world)}",service="fake",scope="repository:secret/other:pull,push"`;
    return { kind: 'status', status: 401, headers: { 'www-authenticate': header } };
  };

const FLOOD = 'x-flood: '.padEnd(1000, 'x');
const HOP = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n';

const connections = {
  reset: {
    what: 'the connection is reset in the middle of the body',
    times: 1,
    answer: (world) => ({ kind: 'reset', after: half(world) }),
  },
  'reset-always': { what: 'the same, each time', answer: always({ kind: 'reset', after: 10 }) },
  'reset-at-once': {
    what: 'the connection is reset instead of an answer',
    times: 1,
    answer: always(raw((socket) => void socket.resetAndDestroy())),
  },
  short: {
    what: 'the connection ends before `Content-Length` is reached',
    times: 1,
    answer: (world) => ({ kind: 'short', after: half(world) }),
  },
  'short-always': { what: 'the same, each time', answer: always({ kind: 'short', after: 10 }) },
  'no-body': {
    what: 'a head with its `Content-Length`, and the end',
    times: 1,
    answer: always({ kind: 'short', after: 0 }),
  },
  'no-head': {
    what: 'the connection ends in the middle of the head',
    times: 1,
    answer: always(bytesThenEnd(() => 'HTTP/1.1 200 OK\r\ncontent-ty')),
  },
  'cut-chunk': {
    what: 'the connection ends in the middle of a chunk',
    times: 1,
    answer: (world) =>
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf(truth, ['transfer-encoding: chunked'])),
          chunk(truth.body).subarray(0, half(world)),
        ]),
      ),
  },
  'no-last-chunk': {
    what: 'the connection ends after the last byte, but without the chunk that says so',
    times: 1,
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([Buffer.from(headOf(truth, ['transfer-encoding: chunked'])), chunk(truth.body)]),
      ),
    ),
  },
  cut: {
    what: 'only the connection’s end ends the body, and it comes too early',
    times: 1,
    answer: (world) => ({ kind: 'cut', after: half(world) }),
  },
  'until-close': {
    what: 'only the connection’s end ends the body, which is whole',
    answer: always({ kind: 'cut', after: Number.POSITIVE_INFINITY }),
  },
  hang: {
    what: 'the connection is taken, and nothing is answered',
    times: 1,
    silent: true,
    answer: always({ kind: 'hang' }),
  },
  'hang-always': { what: 'the same, each time', silent: true, answer: always({ kind: 'hang' }) },
  stall: {
    what: 'nothing more comes in the middle of the body',
    times: 1,
    silent: true,
    answer: (world) => ({ kind: 'stall', after: half(world) }),
  },
  'slow-head': {
    what: 'the head comes byte by byte, without end',
    times: 1,
    silent: true,
    answer: always(raw((socket) => drip(socket, slowHead(), 50))),
  },
  'slow-body': {
    what: 'the body comes in small pieces over a second',
    answer: always(
      raw((socket, truth) => {
        socket.write(headOf(truth, [`content-length: ${truth.body.length}`, 'connection: close']));
        drip(socket, piecesOf(truth.body, 20), 50);
      }),
    ),
  },
} satisfies Record<string, Fault>;

/** Made when it is first sent. */
let bomb: Buffer | undefined;

const messages = {
  'bad-chunk': {
    what: 'a chunk whose length is no number',
    answer: always(bytesThenEnd((truth) => `${headOf(truth, ['transfer-encoding: chunked'])}zz\r\nwhat\r\n0\r\n\r\n`)),
  },
  'two-lengths': {
    what: 'two `Content-Length` that differ',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf(truth, [`content-length: ${truth.body.length}`, 'content-length: 1'])),
          truth.body,
        ]),
      ),
    ),
  },
  'length-and-chunks': {
    what: 'both `Content-Length` and `Transfer-Encoding`',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf(truth, [`content-length: ${truth.body.length}`, 'transfer-encoding: chunked'])),
          chunk(truth.body),
          chunk(Buffer.alloc(0)),
        ]),
      ),
    ),
  },
  'not-http': { what: 'something that is no HTTP', answer: always(bytesThenEnd(() => 'SSH-2.0-OpenSSH_9.6\r\n')) },
  'header-flood': {
    what: '100 KB of headers',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf(truth, [`content-length: ${truth.body.length}`, ...Array<string>(100).fill(FLOOD)])),
          truth.body,
        ]),
      ),
    ),
  },
  'hints-before': {
    what: '100 interim answers (103) before the true one',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(HOP.repeat(100) + headOf(truth, [`content-length: ${truth.body.length}`, 'connection: close'])),
          truth.body,
        ]),
      ),
    ),
  },
  'hints-forever': {
    what: 'interim answers without end',
    times: 1,
    silent: true,
    answer: always(raw((socket) => drip(socket, forever(HOP.repeat(10)), 20))),
  },
  'answer-behind': {
    what: 'a second answer, that nobody asked for, behind the true one',
    answer: always(
      raw(
        (socket, truth) =>
          void socket.write(
            Buffer.concat([
              Buffer.from(headOf(truth, [`content-length: ${truth.body.length}`])),
              truth.body,
              Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil'),
            ]),
          ),
      ),
    ),
  },
  'http-1.0': {
    what: 'HTTP/1.0',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([Buffer.from(headOf(truth, [`content-length: ${truth.body.length}`], 'HTTP/1.0')), truth.body]),
      ),
    ),
  },
  'content-encoding': {
    what: 'the body in gzip, as `Content-Encoding`, which nobody asked for',
    answer: always({ kind: 'gzip' }),
  },
  'encoding-bomb': {
    what: 'the same, with 32 MiB of zeros in 32 KB',
    answer: always(
      bytesThenEnd((truth) => {
        bomb ??= gzipSync(Buffer.alloc(32 << 20));
        const head = headOf(truth, ['content-encoding: gzip', `content-length: ${bomb.length}`]);
        return Buffer.concat([Buffer.from(head), bomb]);
      }),
    ),
  },
} satisfies Record<string, Fault>;

const bodies = {
  'wrong-bytes': { what: 'as many bytes, but others', answer: always({ kind: 'wrong-bytes' }) },
  'other-content': {
    what: 'something else that is well-formed',
    answer: always({
      kind: 'status',
      status: 200,
      headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
      body: '{"schemaVersion":2}',
    }),
  },
  html: {
    what: 'a page in HTML with status 200, as of a hotel’s portal',
    answer: always({
      kind: 'status',
      status: 200,
      headers: { 'content-type': 'text/html' },
      body: '<html>Welcome!</html>',
    }),
  },
  empty: { what: 'status 200 and no byte', answer: always({ kind: 'status', status: 200 }) },
  longer: { what: '100 bytes more than there are', answer: always({ kind: 'longer' }) },
  'longer-announced': {
    what: 'the same, and `Content-Length` says so',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf(truth, [`content-length: ${truth.body.length + 100}`])),
          truth.body,
          Buffer.alloc(100),
        ]),
      ),
    ),
  },
  'longer-than-announced': {
    what: '100 bytes more than `Content-Length` says',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf(truth, [`content-length: ${truth.body.length}`])),
          truth.body,
          Buffer.alloc(100),
        ]),
      ),
    ),
  },
  endless: {
    what: 'a body without end',
    answer: always(
      raw((socket, truth) => {
        socket.write(headOf(truth, ['transfer-encoding: chunked']));
        pour(socket, chunk(Buffer.alloc(1 << 16, 0x20)));
      }),
    ),
  },
} satisfies Record<string, Fault>;

const ranges = {
  'partial-unasked': {
    what: 'status 206 although the whole was asked for',
    answer: always(
      bytesThenEnd((truth) =>
        Buffer.concat([
          Buffer.from(headOf({ ...truth, status: 206 }, [`content-length: ${truth.body.length}`])),
          truth.body,
        ]),
      ),
    ),
  },
  'range-ignored': {
    what: 'ends early; then the whole, although the rest was asked for',
    answer: (world, nth) => (nth === 0 ? { kind: 'short', after: half(world) } : { kind: 'ignore-range' }),
  },
  'range-elsewhere': {
    what: 'ends early; then a range that begins a byte later than was asked',
    answer: (world, nth) => (nth === 0 ? { kind: 'short', after: half(world) } : { kind: 'wrong-range' }),
  },
  'range-unsaid': {
    what: 'ends early; then 206 without `Content-Range`',
    answer: (world, nth) => (nth === 0 ? { kind: 'short', after: half(world) } : withoutRange),
  },
  'range-refused': {
    what: 'ends early; then 416',
    times: 2,
    answer: (world, nth) => (nth === 0 ? { kind: 'short', after: half(world) } : { kind: 'status', status: 416 }),
  },
} satisfies Record<string, Fault>;

const refusals = {
  '401-once': { what: '401, as where a token has run out', times: 1, answer: challengeOfRegistry },
  '401-always': { what: 'the same, each time', answer: challengeOfRegistry },
  '401-unexplained': { what: '401 without a challenge', answer: status(401) },
  'status-403': { what: '403', answer: status(403) },
  'status-404': { what: '404', answer: status(404) },
  '429-date-past': {
    what: '429 with a `Retry-After` that is past',
    times: 1,
    answer: status(429, { 'retry-after': 'Fri, 31 Dec 1999 23:59:59 GMT' }),
  },
  '429-second': { what: '429 with `Retry-After: 1`', times: 1, answer: status(429, { 'retry-after': '1' }) },
  '429-zero': { what: '429 with `Retry-After: 0`', times: 1, answer: status(429, { 'retry-after': '0' }) },
  '429-negative': { what: '429 with `Retry-After: -5`', times: 1, answer: status(429, { 'retry-after': '-5' }) },
  '429-nonsense': { what: '429 with `Retry-After: soon`', times: 1, answer: status(429, { 'retry-after': 'soon' }) },
  '429-years': { what: '429 with `Retry-After: 1000000000`', answer: status(429, { 'retry-after': '1000000000' }) },
  '429-ages': { what: '429 with a `Retry-After` of 30 digits', answer: status(429, { 'retry-after': '9'.repeat(30) }) },
  '429-date-far': {
    what: '429 with a `Retry-After` in the year 9999',
    answer: status(429, { 'retry-after': 'Fri, 31 Dec 9999 23:59:59 GMT' }),
  },
  '503-thrice': { what: '503, three times', times: 3, answer: status(503) },
  '503-years': { what: '503 with `Retry-After: 1000000000`', answer: status(503, { 'retry-after': '1000000000' }) },
  '500-always': { what: '500, each time', answer: status(500) },
  'status-418': { what: '418', answer: status(418) },
} satisfies Record<string, Fault>;

const redirects = {
  'to-storage': { what: 'a redirect to a storage server’s signed address', answer: toStorage() },
  'to-storage-tls': { what: 'the same with TLS', answer: toStorage('tls') },
  'to-expired-address': {
    what: 'the same, but the signature has expired',
    times: 1,
    answer: (world) => ({ kind: 'redirect', location: `${world.signedUrl()}0` }),
  },
  'to-expired-address-always': {
    what: 'the same, each time',
    answer: (world) => ({ kind: 'redirect', location: `${world.signedUrl()}0` }),
  },
  'to-stranger': {
    what: 'a redirect to a stranger, who asks for a login',
    answer: ({ hosts }) => ({ kind: 'redirect', location: `${hosts.stranger}/v2/` }),
  },
  'to-itself': {
    what: 'redirects in a circle',
    answer: ({ url }) => ({ kind: 'redirect', location: url }),
  },
  'six-redirects': { what: 'six redirects, one after the other', answer: sixRedirects },
  'to-nowhere': { what: 'a redirect without `Location`', answer: status(307) },
  'to-nonsense': { what: 'a redirect to what is no URL', answer: redirect('http://[::1') },
  'to-file': { what: 'a redirect to `file:`', answer: redirect('file:///etc/passwd') },
  'to-gopher': { what: 'a redirect to `gopher:`', answer: redirect('gopher://127.0.0.1:70/x') },
  'to-unix': { what: 'a redirect to a Unix socket', answer: redirect('unix:///run/docker.sock:/v1.43/secrets') },
  'to-metadata': {
    what: 'a redirect to a cloud’s metadata (169.254.169.254)',
    answer: redirect('http://169.254.169.254/latest/meta-data/'),
  },
  'to-metadata-v6': {
    what: 'the same in the clothes of IPv6',
    answer: redirect('http://[::ffff:169.254.169.254]/latest/'),
  },
  'to-login': {
    what: 'a redirect to an address with a user and a password',
    answer: redirect('http://admin:admin@127.0.0.2/'),
  },
  'tls-then-plain': { what: 'a redirect to a server with TLS, and from there to one without', answer: tlsThenPlain },
} satisfies Record<string, Fault>;

const tls = {
  'tls-unknown': { what: 'a redirect to a server with a certificate of nobody', answer: toStorage('tls-unknown') },
  'tls-wrong-name': { what: 'the same, with that of another name', answer: toStorage('tls-wrong-name') },
  'tls-expired': { what: 'the same, with one that has expired', answer: toStorage('tls-expired') },
  'tls-old': { what: 'the same, with TLS 1.1', answer: toStorage('tls-old') },
  'not-tls': { what: 'a redirect to `https:` where nobody speaks TLS', answer: toStorage('not-tls') },
} satisfies Record<string, Fault>;

const realms = {
  'realm-stranger': {
    what: '401 that names a stranger as the token server',
    anybody: true,
    answer: challenge(({ hosts }) => `${hosts.stranger}/token`),
  },
  'realm-metadata': {
    what: '401 that names a cloud’s metadata',
    anybody: true,
    answer: challenge(() => 'http://169.254.169.254/token'),
  },
  'realm-metadata-tls': {
    what: 'the same with `https:`',
    anybody: true,
    answer: challenge(() => 'https://169.254.169.254/token'),
  },
  'realm-plain': {
    what: '401 that names a host of the network in plain HTTP',
    anybody: true,
    answer: challenge(() => 'http://192.0.2.1/token'),
  },
  'realm-login': {
    what: '401 that names an address with a user and a password',
    anybody: true,
    answer: challenge(({ origin }) => `${origin.replace('//', '//a:b@')}/token`),
  },
  'realm-file': { what: '401 that names a file', anybody: true, answer: challenge(() => 'file:///etc/passwd') },
  'realm-confused': {
    what: '401 that names a stranger behind the registry’s own name',
    anybody: true,
    answer: challenge(({ origin, hosts }) => `${origin}@${new URL(hosts.stranger).host}/token`),
  },
  'basic-instead': {
    what: '401 that wants the password as it is',
    anybody: true,
    answer: status(401, { 'www-authenticate': 'Basic realm="now"' }),
  },
  negotiate: {
    what: '401 that wants Kerberos',
    anybody: true,
    answer: status(401, { 'www-authenticate': 'Negotiate' }),
  },
} satisfies Record<string, Fault>;

export const FAULTS = {
  ...connections,
  ...messages,
  ...bodies,
  ...ranges,
  ...refusals,
  ...redirects,
  ...tls,
  ...realms,
};

export type FaultName = keyof typeof FAULTS;

function* slowHead(): Generator<string> {
  yield 'HTTP/1.1 200 OK\r\nx-slow: ';
  yield* forever('x');
}

const withoutRange = raw((socket, truth) => {
  const { 'content-range': _, ...headers } = truth.headers;
  socket.end(
    Buffer.concat([Buffer.from(headOf({ ...truth, headers }, [`content-length: ${truth.body.length}`])), truth.body]),
  );
});

function challengeOfRegistry(world: FaultWorld): RegistryFault {
  const header = `Bearer realm="${world.origin}/token",service="fake"`;
  return { kind: 'status', status: 401, headers: { 'www-authenticate': header } };
}

function sixRedirects({ hosts, signedUrl }: FaultWorld): RegistryFault {
  let location = signedUrl();
  for (let i = 0; i < 5; i++) {
    const before = signedUrl();
    hosts.sendOn(before, location);
    location = before;
  }
  return { kind: 'redirect', location };
}

function tlsThenPlain({ hosts, signedUrl }: FaultWorld): RegistryFault {
  const first = signedUrl('tls');
  hosts.sendOn(first, signedUrl());
  return { kind: 'redirect', location: first };
}
