/**
 * The two servers, in processes of their own, whatever comes in: the daemon at its socket and the store as a registry. An
 * input is what clients write: several connections at once, in pieces, one request behind the other, and some go before
 * they are answered. Whatever that was, the next client is served; the process stays, says nothing that no operator
 * should read, and keeps no memory.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { buildImage, writeOciLayout } from '../../../src/testing/image-builder.js';
import { dir, file, tar } from '../../../src/testing/tar-builder.js';
import { mutateBytes } from '../mutate.js';
import { mutateJson } from '../mutate-json.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

const NEXT = '\n~~~ next connection\n';
const PIECE = '\n~~~ next piece\n';
const GONE = '\n~~~ gone\n';
const MAX_CONNECTIONS = 40;
/** Who has asked for something slow does not wait for the answer. */
const PATIENCE_MS = 60;
const SERVED_MS = 10_000;
/** What the runtime, its caches and its compiler may grow by; a request that were kept whole would show by far. */
const MAX_GROWTH_MIB = 300;

interface Door {
  readonly at: NetConnectOpts;
  /** Answers 200 as long as all is well. */
  readonly probe: string;
  readonly examples: readonly string[];
  /** After each input. */
  check(): void;
  close(): Promise<void>;
}

export async function openDoorTarget(name: keyof typeof DOORS): Promise<FuzzTarget> {
  // Syncing is no part of this.
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'larder-fuzz-door-'));
  const image = buildImage({ layers: [{ tar: tar([dir('etc'), file('etc/x', 'y')]) }] });
  writeOciLayout(join(directory, 'layout'), { demo: image });
  const door = await DOORS[name](directory);
  const examples = door.examples.map((example) =>
    example.replaceAll('LAYOUT', join(directory, 'layout')).replaceAll('DIGEST', image.digest),
  );
  return {
    name,
    codes: [],
    short: { runs: 15, meets: ['ok'] },
    words: WORDS,
    make: (random) => Buffer.from(Array.from({ length: 1 + random.below(4) }, () => random.pick(examples)).join(NEXT)),
    mutate: (input, random) => mutateRequests(input, random, examples),
    async run(input) {
      const connections = input.toString('latin1').split(NEXT).slice(0, MAX_CONNECTIONS);
      const answers = await Promise.all(connections.map((text) => say(door.at, text)));
      for (const answer of answers) {
        assert.doesNotMatch(answer, /"error":{"code":"LARDER_(?:INTERNAL|WORKER_LOST)/, answer.slice(0, 2000));
        assert.match(answer, /^(?:$|HTTP\/1\.1 \d\d\d )/);
      }
      assert.equal(await statusOf(door), 200);
      door.check();
    },
    budgetMs: () => 10_000,
    close: async () => {
      await door.close();
      rmSync(directory, { recursive: true });
    },
  };
}

/** One connection, as the input has it; what was answered until the server had enough, or we had. */
async function say(at: NetConnectOpts, text: string): Promise<string> {
  const [whole = '', ...rest] = text.split(GONE);
  const pieces = whole.split(PIECE).slice(0, 10);
  const socket = connect(at);
  let answer = '';
  const over = new Promise<void>((resolve) => {
    socket.on('close', () => resolve());
    socket.on('error', () => resolve());
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1');
      if (isWhole(answer)) resolve();
    });
  });
  try {
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) await Promise.race([over, sleep(1)]);
      if (socket.writable) socket.write(Buffer.from(piece, 'latin1'));
    }
    const patience = new AbortController();
    if (rest.length === 0) await Promise.race([over, sleep(PATIENCE_MS, undefined, patience).catch(() => {})]);
    patience.abort();
  } finally {
    if (rest.length === 0 || 'path' in at) socket.destroy();
    else socket.resetAndDestroy();
  }
  return answer;
}

/** Seen from here, near enough: a head, and the body that it announces. */
function isWhole(answer: string): boolean {
  const end = answer.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(answer.slice(0, end))?.[1];
  return length === undefined ? answer.endsWith('0\r\n\r\n') : answer.length >= end + 4 + Number(length);
}

function statusOf({ at, probe }: Door): Promise<number> {
  return new Promise((resolve, reject) => {
    const place = 'path' in at ? { socketPath: at.path } : { host: '127.0.0.1', port: at.port };
    const asked = request({ ...place, path: probe, agent: false, timeout: SERVED_MS }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
    });
    asked.once('timeout', () => asked.destroy(new Error('nobody is served any more')));
    asked.once('error', reject);
    asked.end();
  });
}

/** Nothing is there: who is sent elsewhere gets nowhere. */
const NOWHERE = {
  ALL_PROXY: 'http://127.0.0.1:1',
  HTTPS_PROXY: 'http://127.0.0.1:1',
  HTTP_PROXY: 'http://127.0.0.1:1',
};
const SETTINGS = { registries_conf: 'none', registry_certs_dir: 'none', docker_config: '{}' };

const openDaemon = (directory: string): Promise<Door> => {
  const socket = join(directory, 'run', 'larder.sock');
  return apart(directory, ['--socket', socket, 'daemon'], () => ({
    at: { path: socket },
    probe: '/healthz',
    examples: OF_DAEMON,
  }));
};

const openServe = (directory: string): Promise<Door> =>
  apart(directory, ['serve', '--listen', '127.0.0.1:0'], (said) => ({
    at: { port: Number(/serves .*:(\d+)/.exec(said)?.[1]) },
    probe: '/v2/',
    examples: OF_SERVE,
  }));

const DOORS = { daemon: openDaemon, serve: openServe } as const;

async function apart(
  directory: string,
  args: readonly string[],
  doorOf: (said: string) => Pick<Door, 'at' | 'probe' | 'examples'>,
): Promise<Door> {
  const main = fileURLToPath(new URL('../../helpers/larder-main.js', import.meta.url));
  const settings = Object.entries(SETTINGS).flatMap(([name, value]) => [`--${name.replaceAll('_', '-')}`, value]);
  const child = spawn(process.execPath, [main, '--root', join(directory, 'store'), ...settings, ...args], {
    env: { PATH: process.env['PATH'], HOME: directory, ...NOWHERE },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-100_000);
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  for (let waited = 0; !said.includes('larder: serves '); waited += 20) {
    assert.ok(child.exitCode === null && waited < 60_000, said);
    await sleep(20);
  }
  const door = doorOf(said);
  let runs = 0;
  let before = 0;
  const check = (): void => {
    assert.ok(child.exitCode === null && child.signalCode === null, `it ended: ${said.slice(-3000)}`);
    assert.doesNotMatch(
      said,
      /unhandled|uncaught|MaxListeners|\bat [^(]* \([^)]*:\d+:\d+\)/i,
      'it says what no operator should read',
    );
    runs++;
    if (runs === 50) before = rssMiB(child.pid);
    const grown = runs > 50 ? rssMiB(child.pid) - before : 0;
    assert.ok(grown < MAX_GROWTH_MIB, `it grew by ${grown} MiB`);
  };
  const close = async (): Promise<void> => {
    if (runs > 50)
      console.error(`${args.join(' ')}: ${before} MiB after 50 inputs, ${rssMiB(child.pid)} after ${runs}`);
    child.kill('SIGTERM');
    await ended;
    assert.equal(child.exitCode, 0, said.slice(-3000));
  };
  return { ...door, check, close };
}

function rssMiB(pid: number | undefined): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024);
}

const HEADS = [
  'Content-Length: 5',
  'Content-Length: -1',
  'Transfer-Encoding: chunked',
  'Expect: 100-continue',
  'Expect: x',
  'Connection: close',
  'Connection: upgrade\r\nUpgrade: websocket',
  'Range: bytes=0-0',
  'Range: bytes=5-1,-0,9999999999999-',
  'If-None-Match: *',
  'If-Range: "x"',
  'Accept: */*;q=0',
  'Authorization: Basic eDp5',
  'Authorization: Bearer x',
  'larder-operation: aaaaaaaa',
  'Host: evil.example',
  'Host:',
  'x: \u0000',
  `x: ${'y'.repeat(17_000)}`,
  'Content-Type: text/plain',
  'Content-Encoding: gzip',
];
const WORDS = [
  '\r\n',
  '\r\n\r\n',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/2.0',
  'GET ',
  'HEAD ',
  'POST ',
  'DELETE ',
  'CONNECT ',
  'OPTIONS * ',
  'http://evil.example/',
  '%2e%2e/',
  '%00',
  '%ff',
  '?ns=',
  '/blobs/',
  '/manifests/',
  'sha256:',
  '0\r\n\r\n',
  'ffffffffffffffff\r\n',
  ...HEADS,
  PIECE,
  NEXT,
  GONE,
];

function get(path: string, heads: readonly string[] = [], method = 'GET'): string {
  return `${[`${method} ${path} HTTP/1.1`, 'Host: localhost', ...heads].join('\r\n')}\r\n\r\n`;
}

function post(path: string, body: object, heads: readonly string[] = []): string {
  const text = JSON.stringify(body);
  const all = ['Content-Type: application/json', `Content-Length: ${text.length}`, ...heads];
  return get(path, all, 'POST') + text;
}

const LOCAL = 'oci:LAYOUT:demo';
const DOCKER = { type: 'docker', name: LOCAL };
const SECRET = { type: 'value', value: '{}' };
const OF_DAEMON: readonly string[] = [
  ...['/v1/daemon', '/v1/info', '/v1/images', '/v1/pulls', '/v1/containers', '/metrics', '/healthz'].map((path) =>
    get(path),
  ),
  get('/v1/containers/c1'),
  get('/v1/operations/aaaaaaaa', [], 'DELETE'),
  post('/v1/pull', { reference: LOCAL }, ['larder-operation: aaaaaaaa']),
  post('/v1/pull', { reference: 'nowhere.example/a', platform: 'linux/arm64', config: SECRET, cached: false }),
  post('/v1/plan', { reference: LOCAL }),
  post('/v1/attach', { pull: 'abcdef01' }),
  post('/v1/history', { reference: 'alpine', platform: 'linux/amd64' }),
  post('/v1/rollback', { reference: 'alpine', to: 'yesterday' }),
  post('/v1/provision', { id: 'c1', image: DOCKER, backend: 'copy', nodev: true }),
  post('/v1/provision', { id: 'c2/a', reference: LOCAL, volumes: [{ name: 'v', image: DOCKER, readOnly: true }] }),
  post('/v1/destroy', { id: 'c1' }),
  post('/v1/destroy', { id: 'c2' }),
  post('/v1/recover', { known: ['c1', 'c2'] }),
  post('/v1/prune', { exclude: ['alpine'], dryRun: true, all: true }),
  post('/v1/prune-images', { excluded: [DOCKER, { type: 'appc', name: 'a', labels: { os: 'linux' } }] }),
  post('/v1/remove', { reference: LOCAL, platform: 'linux/amd64' }),
  post('/v1/check', { deep: true }),
  post('/api/v1', {
    type: 'PRUNE_IMAGES',
    prune_images: { excluded_images: [{ type: 'DOCKER', docker: { name: 'alpine' } }] },
  }),
  get('/v1/images') + get('/v1/info') + get('/healthz', ['Connection: close']),
];
const OF_SERVE: readonly string[] = [
  get('/v2/'),
  get('/v2/demo/manifests/latest'),
  get('/v2/localhost__1/demo/manifests/DIGEST'),
  get('/v2/library/alpine/blobs/DIGEST', ['Range: bytes=3-9']),
  get('/v2/nowhere.example/a/b/manifests/1', [], 'HEAD'),
  get('/v2/a/manifests/1?ns=nowhere.example', ['Authorization: Basic dTpw']),
  get('/v2/a/blobs/sha256%3Ax'),
  get('/v2/a/tags/list'),
  get('/v2/') + get('/v2/a/manifests/x'),
  post('/v2/a/blobs/uploads/', {}),
];

function mutateRequests(input: Buffer, random: Random, examples: readonly string[]): Buffer {
  const connections = input.toString('latin1').split(NEXT);
  const i = random.below(connections.length);
  const one = connections[i] ?? '';
  const bytes = (): string => mutateBytes(Buffer.from(one, 'latin1'), random, WORDS).toString('latin1');
  const at = random.below(one.length + 1);
  switch (random.below(9)) {
    case 0:
      connections.push(...Array.from({ length: random.oneIn(8) ? 30 : 1 }, () => random.pick(examples)));
      break;
    case 1:
      connections[i] = one.slice(0, at) + PIECE + one.slice(at);
      break;
    case 2:
      connections[i] = one.slice(0, at) + GONE;
      break;
    case 3:
      connections[i] = one + random.pick(examples);
      break;
    case 4:
      connections[i] = one.replace('\r\n', `\r\n${random.pick(HEADS)}\r\n`);
      break;
    case 5:
    case 6:
      connections[i] = withBody(one, random);
      break;
    default:
      connections[i] = bytes();
  }
  return Buffer.from(connections.join(NEXT), 'latin1');
}

/** The body alone changes, and its length is said rightly. */
function withBody(text: string, random: Random): string {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return text;
  const words = ['c1', 'c2', 'copy', 'bind', LOCAL, '..', 'oci:', 'docker-archive:', 'appc:', 'type', 'volumes'];
  const body = mutateJson(Buffer.from(text.slice(end + 4), 'latin1'), random, words).toString('latin1');
  const head = text.slice(0, end).replace(/content-length: *\d+/i, `Content-Length: ${body.length}`);
  return `${head}\r\n\r\n${body}`;
}
