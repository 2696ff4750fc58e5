/** A store's layers for tests: a temporary root, records in memory, real threads, and a server for blobs. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LarderError } from '../../src/errors.js';
import type { LarderEvent } from '../../src/events.js';
import type { LayerJob, LayerProgress, LayerResult } from '../../src/layers/layer-job.js';
import { type LayerRecords, LayerStore } from '../../src/layers/layer-store.js';
import { type DerivedRecords, MergedImages } from '../../src/layers/merged-images.js';
import { Layout } from '../../src/layout.js';
import type { DerivedRecord, LayerRecord } from '../../src/metadata/records.js';
import type { BlobGrant, BlobRequest } from '../../src/registry/blob.js';
import { type DiffId, type Digest, digestOf, parseDiffId } from '../../src/spec/digest.js';
import { parseWhitelist } from '../../src/spec/stack.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { WorkerPool } from '../../src/workers/pool.js';

export const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd';
export const PLAIN = 'application/vnd.oci.image.layer.v1.tar';

const workerEntry = new URL('../../src/assemble-worker.js', import.meta.url);

export class Lab implements AsyncDisposable {
  readonly layout: Layout;
  readonly pool = new WorkerPool({ entry: workerEntry, size: 2 });
  readonly layerRecords = new Map<string, LayerRecord>();
  readonly derivedRecords = new Map<string, DerivedRecord>();
  readonly events: LarderEvent[] = [];
  readonly progress: LayerProgress[] = [];
  readonly requests: BlobRequest[] = [];
  readonly layers: LayerStore;
  readonly merged: MergedImages;

  constructor(root: string, onStep?: (step: string) => void) {
    this.layout = new Layout(root);
    this.#readRecords();
    const onEvent = (event: LarderEvent) => this.events.push(event);
    const records: LayerRecords = {
      get: (diffId) => this.layerRecords.get(diffId),
      put: (record) => {
        this.layerRecords.set(record.diffId, record);
        this.#writeRecords();
      },
      forget: (diffIds) => {
        for (const diffId of diffIds) this.layerRecords.delete(diffId);
        this.#writeRecords();
        return new Set(diffIds);
      },
    };
    const derived: DerivedRecords = {
      get: (kind, key) => this.derivedRecords.get(`${kind} ${key}`),
      put: (record) => {
        this.derivedRecords.set(`${record.kind} ${record.key}`, record);
        this.#writeRecords();
      },
    };
    const { layout, pool } = this;
    const steps = onStep === undefined ? {} : { onStep };
    this.layers = new LayerStore({ layout, records, pool, handle: 'h1', onEvent, ...steps });
    this.merged = new MergedImages({
      layout,
      layers: this.layers,
      records: derived,
      pool,
      readWhitelist: async (document) => parseWhitelist(readFileSync(layout.blob(document))),
      onEvent,
      ...steps,
    });
  }

  static async open(): Promise<Lab> {
    const lab = new Lab(await mkdtemp(join(tmpdir(), 'larder-layers-')));
    await lab.layers.prepare();
    return lab;
  }

  get ingestData(): string {
    return join(this.layout.root, 'download');
  }

  job(bytes: Uint8Array, mediaType: string | undefined, outDir: string, more: Partial<LayerJob> = {}): LayerJob {
    return {
      digest: digestOf(bytes),
      size: bytes.length,
      ...(mediaType === undefined ? {} : { mediaType }),
      source: { kind: 'registry' },
      ingestData: this.ingestData,
      outDir,
      limits: DEFAULT_LAYER_LIMITS,
      ...more,
    };
  }

  /** Runs the task `layer` against `server`, which is asked at most `requests` times. */
  write(
    job: LayerJob,
    server?: BlobServer,
    options: { signal?: AbortSignal; requests?: number; pool?: WorkerPool } = {},
  ): Promise<LayerResult> {
    const onAsk = async (question: unknown): Promise<BlobGrant> => {
      const request = question as BlobRequest;
      this.requests.push(request);
      const url = server?.url(request.digest);
      if (url === undefined || request.attempt >= (options.requests ?? 3)) {
        throw new LarderError('LARDER_REGISTRY_UNAVAILABLE', 'test: registry: no more requests');
      }
      return { url, headers: {}, afterMs: 0, connectTimeoutMs: 5000, stallTimeoutMs: 5000 };
    };
    const onMessage = (message: unknown) => this.progress.push(message as LayerProgress);
    const { signal } = options;
    return (options.pool ?? this.pool).run('layer', job, {
      onAsk,
      onMessage,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Stages and adopts one tar; the DiffID. */
  async add(tar: Uint8Array): Promise<DiffId> {
    return (await this.put(tar)).diffId;
  }

  /** The same, and what it took the place of. */
  async put(tar: Uint8Array): Promise<{ readonly diffId: DiffId; readonly replaced: readonly DiffId[] }> {
    await using staging = await this.layers.stage();
    const path = join(staging.path, 'source.tar');
    await writeFile(path, tar);
    const { ingestData: _, ...job } = this.job(tar, PLAIN, staging.outDir(digestOf(tar)));
    const result = await this.write({ ...job, source: { kind: 'file', path, offset: 0 } });
    return { diffId: result.diffId, replaced: await this.layers.adopt([result]) };
  }

  /** What nobody refers to must be gone when a test is over (I6). */
  async leftovers(): Promise<string[]> {
    const left: string[] = [];
    for (const area of [this.layout.staging, this.layout.gc]) {
      for (const name of await readdir(area, { recursive: true })) left.push(join(area, name));
    }
    return left;
  }

  /** The records survive the process, as the database does. */
  #writeRecords(): void {
    const text = JSON.stringify([[...this.layerRecords], [...this.derivedRecords]]);
    writeFileSync(`${this.#recordsPath}.tmp`, text);
    renameSync(`${this.#recordsPath}.tmp`, this.#recordsPath);
  }

  #readRecords(): void {
    if (!existsSync(this.#recordsPath)) return;
    const [layers, derived] = JSON.parse(readFileSync(this.#recordsPath, 'utf8')) as [
      [string, LayerRecord][],
      [string, DerivedRecord][],
    ];
    for (const [key, record] of layers) this.layerRecords.set(key, record);
    for (const [key, record] of derived) this.derivedRecords.set(key, record);
  }

  get #recordsPath(): string {
    return join(this.layout.root, 'records.json');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
    await rm(this.layout.root, { recursive: true, force: true });
  }
}

export function diffIdOf(tar: Uint8Array): DiffId {
  return parseDiffId(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
}

/** A blob as a server gives it: from byte `from` on. */
type Body = (response: ServerResponse, from: number) => void | Promise<void>;

/** Blobs over HTTP with ranges. Counts what it was asked to send. */
export class BlobServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #bodies = new Map<string, { readonly size: number; readonly body: Body }>();
  /** First byte of each request's range. */
  readonly offsets: number[] = [];

  constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<BlobServer> {
    const server = createServer((request, response) =>
      blobs.#serve(request.url ?? '', request.headers.range, response),
    );
    const blobs = new BlobServer(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return blobs;
  }

  url(digest: Digest): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/${digest}`;
  }

  /** Serves `bytes` under a name that need not be their digest. */
  add(digest: Digest, bytes: Uint8Array): void {
    this.addBody(digest, bytes.length, (response, from) => void response.end(bytes.subarray(from)));
  }

  addBody(digest: Digest, size: number, body: Body): void {
    this.#bodies.set(`/${digest}`, { size, body });
  }

  #serve(url: string, range: string | undefined, response: ServerResponse): void {
    const found = this.#bodies.get(url);
    if (found === undefined) {
      response.writeHead(404).end();
      return;
    }
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    this.offsets.push(from);
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': found.size - from,
      ...(from > 0 ? { 'content-range': `bytes ${from}-${found.size - 1}/${found.size}` } : {}),
    });
    void found.body(response, from);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
