/**
 * Whole pulls into a store, from a registry that has any manifest, config and layers, and answers in any way. Sizes and
 * digests are mostly said rightly, so that what is behind them is reached. A pull ends with an image or with a documented
 * code; whichever it is, nothing is left when the image is removed, and nothing beside the store has changed.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { ERROR_TABLE, type ErrorCode, isLarderError, LarderError } from '../../../src/errors.js';
import { type Larder, openLarder } from '../../../src/larder.js';
import { digestOf } from '../../../src/spec/digest.js';
import { zstdFrame } from '../../../src/testing/image-builder.js';
import { dir, file, hardlink, symlink, tar, whiteout } from '../../../src/testing/tar-builder.js';
import { Canary, VICTIM } from '../../corpus/canary.js';
import { mutateJson } from '../mutate-json.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { mutateArchive } from './tar.js';

const BOUNDARY = Buffer.from('\0\n== next part ==\n\0');
const MAX_LAYERS = 8;
/** Nobody waits as long as a server may ask for. */
const PATIENCE_MS = 3000;
const CODES = (Object.keys(ERROR_TABLE) as ErrorCode[]).filter(
  (code) => code !== 'LARDER_INTERNAL' && code !== 'LARDER_WORKER_LOST',
);

export async function openPullTarget(): Promise<FuzzTarget> {
  // Syncing is no part of this.
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'larder-fuzz-pull-'));
  const canary = new Canary(directory, ['store']);
  const registry = await Registry.start();
  const larder = await openLarder({
    root: join(directory, 'store'),
    registries_conf: 'none',
    registry_certs_dir: 'none',
    docker_config: '{}',
    // Which of several layers fails first is a matter of moments.
    max_parallel_layers: 1,
    max_layer_bytes: 16 << 20,
  });
  let runs = 0;
  return {
    name: 'pull',
    codes: CODES,
    timed: ['LARDER_ABORTED', 'LARDER_TIMEOUT'],
    short: { runs: 12, meets: ['ok', 'LARDER_LAYER_INVALID'] },
    make: makeImage,
    mutate: mutateImage,
    async run(input) {
      // A host of its own: what one asked for, as to be left alone, goes for nobody else.
      runs++;
      registry.serve(input);
      const host = `127.${1 + (runs >> 14)}.${(runs >> 7) & 127}.${1 + (runs & 127)}:${registry.port}`;
      try {
        await using image = await larder.pull(`${host}/team/app`, { signal: AbortSignal.timeout(PATIENCE_MS) });
        return [image.record.digest, image.record.layers];
      } catch (error) {
        if (isLarderError(error, ...CODES)) throw new LarderError(error.code, 'refused');
        throw error;
      } finally {
        for (const { reference, platform } of larder.images()) await larder.remove(reference, { platform });
        assert.deepEqual(await leftAfterPrune(larder), []);
        assert.deepEqual(canary.changes(), []);
      }
    },
    budgetMs: () => 10_000,
    close: async () => {
      await larder.close();
      await registry.close();
      rmSync(directory, { recursive: true });
    },
  };
}

/** Who gave up does not wait for the end of what it began. */
async function leftAfterPrune(larder: Larder): Promise<string[]> {
  for (let tries = 0; ; tries++) {
    await larder.prune({ all: true });
    const left = ['layers/sha256', 'blobs/sha256', 'ingest', 'staging', 'gc'].flatMap((directory) =>
      namesIn(join(larder.root, directory)).map((name) => `${directory}/${name}`),
    );
    if (left.length === 0 || tries === 100) return left;
    await sleep(50);
  }
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

/** What is wrong with the answer to the `nth` request for a `kind`. */
interface Fault {
  readonly kind?: unknown;
  readonly nth?: unknown;
  readonly status?: unknown;
  readonly headers?: unknown;
  readonly cut?: unknown;
  readonly flip?: unknown;
}

/**
 * An input's first part is `{manifest, config, faults}`, the others are layers, their first letter how each is compressed.
 * In the documents `@size0`, `@digest0`, `@diffid0` and so on stand for those of a layer, `@sizec` and `@digestc` for the
 * config's.
 */
class Registry {
  readonly #server: Server = createServer((request, response) => this.#answer(request, response));
  #manifest: Uint8Array = Buffer.alloc(0);
  #mediaType = '';
  #blobs = new Map<string, { readonly kind: string; readonly bytes: Uint8Array }>();
  #faults: readonly Fault[] = [];
  #asked = new Map<string, number>();

  static async start(): Promise<Registry> {
    const registry = new Registry();
    await new Promise<void>((resolve) => registry.#server.listen(0, '0.0.0.0', resolve));
    return registry;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  serve(input: Buffer): void {
    const [head = Buffer.alloc(0), ...layers] = partsOf(input);
    const plan = planOf(head);
    const values = new Map<string, string>();
    this.#blobs = new Map();
    this.#asked = new Map();
    for (const [i, layer] of layers.entries()) {
      const archive = layer.subarray(1);
      const bytes = compressed(layer.subarray(0, 1).toString('latin1'), archive);
      this.#blobs.set(digestOf(bytes), { kind: 'layer', bytes });
      values.set(`@digest${i}`, digestOf(bytes)).set(`@diffid${i}`, digestOf(archive));
      values.set(`@size${i}`, String(bytes.length));
    }
    const config = Buffer.from(filled(plan.config, values));
    this.#blobs.set(digestOf(config), { kind: 'config', bytes: config });
    values.set('@digestc', digestOf(config)).set('@sizec', String(config.length));
    this.#manifest = Buffer.from(filled(plan.manifest, values));
    this.#mediaType = String(Object(plan.manifest)['mediaType']).replace(/[^\x20-\x7e]/g, '');
    this.#blobs.set(digestOf(this.#manifest), { kind: 'manifest', bytes: this.#manifest });
    this.#faults = Array.isArray(plan.faults) ? plan.faults.map((fault: unknown) => Object(fault) as Fault) : [];
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const [, what, name = ''] = /\/(manifests|blobs)\/([^/?]*)/.exec(request.url ?? '') ?? [];
    const tagged = what === 'manifests' ? { kind: 'manifest', bytes: this.#manifest } : undefined;
    const found = this.#blobs.get(decodeURIComponent(name)) ?? tagged;
    if (found === undefined) {
      response.writeHead(404).end();
      return;
    }
    const nth = (this.#asked.get(found.kind) ?? 0) + 1;
    this.#asked.set(found.kind, nth);
    send(
      request,
      response,
      found,
      this.#mediaType,
      this.#faults.find((f) => f.kind === found.kind && f.nth === nth),
    );
  }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { kind, bytes }: { readonly kind: string; readonly bytes: Uint8Array },
  mediaType: string,
  fault: Fault = {},
): void {
  const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const body = Buffer.from(bytes.subarray(start));
  const status = Number(fault.status);
  const isStatus = Number.isInteger(status) && status >= 200 && status < 600;
  response.statusCode = isStatus ? status : start > 0 ? 206 : 200;
  response.setHeader('content-length', body.length);
  if (kind === 'manifest') response.setHeader('content-type', mediaType);
  if (start > 0) response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
  for (const [name, value] of Object.entries(Object(fault.headers) as object)) {
    try {
      response.setHeader(name, String(value));
    } catch {
      // No head can have it.
    }
  }
  if (typeof fault.flip === 'number' && body.length > 0) {
    const at = Math.abs(Math.trunc(fault.flip)) % body.length;
    body.writeUInt8(body.readUInt8(at) ^ 1, at);
  }
  if (typeof fault.cut === 'number') {
    response.write(body.subarray(0, Math.abs(Math.trunc(fault.cut)) % (body.length + 1)), () => response.destroy());
  } else response.end(request.method === 'HEAD' ? undefined : body);
}

function planOf(head: Buffer): { manifest?: unknown; config?: unknown; faults?: unknown } {
  try {
    return Object(JSON.parse(head.toString('utf8'))) as object;
  } catch {
    return { manifest: head.toString('latin1') };
  }
}

/** A text is served as it is, without the quotes. */
function filled(document: unknown, values: ReadonlyMap<string, string>): string {
  const text = typeof document === 'string' ? document : (JSON.stringify(document) ?? '');
  return text
    .replace(/"(@size\w)"/g, (whole, name: string) => values.get(name) ?? whole)
    .replace(/@(?:digest|diffid)\w/g, (name) => values.get(name) ?? name);
}

function compressed(how: string, archive: Buffer): Uint8Array {
  if (how === 'g') return gzipSync(archive, { level: 1 });
  return how === 'z' ? zstdFrame(archive) : archive;
}

function partsOf(input: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  let start = 0;
  for (let end = input.indexOf(BOUNDARY); end >= 0; end = input.indexOf(BOUNDARY, start)) {
    parts.push(input.subarray(start, end));
    start = end + BOUNDARY.length;
  }
  return [...parts, input.subarray(start)].slice(0, 1 + MAX_LAYERS);
}

function joined(parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [BOUNDARY, part])));
}

const OCI = 'application/vnd.oci.image';
const TYPES: Readonly<Record<string, string>> = { n: 'tar', g: 'tar+gzip', z: 'tar+zstd' };
const FAULTS: readonly Fault[] = [
  { kind: 'manifest', nth: 1, status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
  { kind: 'layer', nth: 1, cut: 300 },
  { kind: 'layer', nth: 1, flip: 700 },
  { kind: 'config', nth: 1, status: 404 },
  { kind: 'layer', nth: 1, status: 206, headers: { 'content-range': 'bytes 0-9/10' } },
  {
    kind: 'layer',
    nth: 2,
    headers: { 'content-encoding': 'gzip', 'retry-after': '0', location: '/v2/x' },
    status: 307,
  },
  { kind: 'manifest', nth: 1, headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } },
];
const ARCHIVES: readonly Buffer[] = [
  tar([dir('etc'), file('etc/os-release', 'ID=demo\n'), symlink('lib', 'usr/lib'), hardlink('h', 'etc/os-release')]),
  tar([whiteout('h'), file('lib/x', 'y'.repeat(3000))]),
  tar([file('big', Buffer.alloc(70_000, 7), { xattrs: { 'user.a': 'b' } })]),
  tar([symlink('out', `../../${VICTIM}`), file('out/secret', 'changed'), file(`../${VICTIM}/new`, 'x')]),
  tar([]),
];

function makeImage(random: Random): Buffer {
  const layers = Array.from({ length: random.oneIn(8) ? 0 : 1 + random.below(3) }, () => {
    const how = random.pick(['n', 'g', 'z']);
    return { how, bytes: Buffer.concat([Buffer.from(how), random.pick(ARCHIVES)]) };
  });
  const plan = {
    manifest: {
      schemaVersion: 2,
      mediaType: `${OCI}.manifest.v1+json`,
      config: { mediaType: `${OCI}.config.v1+json`, digest: '@digestc', size: '@sizec' },
      layers: layers.map(({ how }, i) => ({
        mediaType: `${OCI}.layer.v1.${TYPES[how]}`,
        digest: `@digest${i}`,
        size: `@size${i}`,
      })),
    },
    config: {
      os: 'linux',
      architecture: 'amd64',
      config: { Env: ['A=b'], Cmd: ['/x'] },
      rootfs: { type: 'layers', diff_ids: layers.map((_, i) => `@diffid${i}`) },
    },
    faults: random.oneIn(3) ? [random.pick(FAULTS)] : [],
  };
  return joined([Buffer.from(JSON.stringify(plan)), ...layers.map(({ bytes }) => bytes)]);
}

const WORDS = ['@digest0', '@size0', '@diffid0', '@digestc', '@size1', 'layers', 'faults', 'manifests', 'urls', 'nth'];

function mutateImage(input: Buffer, random: Random): Buffer {
  const parts = partsOf(input);
  const i = 1 + random.below(Math.max(1, parts.length - 1));
  const part = parts[i] ?? Buffer.alloc(0);
  // What was spoilt once would stay so.
  if (random.oneIn(6)) parts[0] = partsOf(makeImage(random))[0] ?? part;
  // Most changes of the documents end a pull before its layers.
  if (parts.length === 1 || random.oneIn(5)) parts[0] = Buffer.from(mutateJson(parts[0] ?? part, random, WORDS));
  else if (random.oneIn(6)) parts[i] = Buffer.concat([Buffer.from(random.pick(['n', 'g', 'z'])), part.subarray(1)]);
  else parts[i] = Buffer.concat([part.subarray(0, 1), mutateArchive(Buffer.from(part.subarray(1)), random)]);
  return joined(parts);
}
