/**
 * Blobs: configs as they are kept; layers out of blobs/ where they are kept, out of layer.tar where that is what was
 * transferred, and else from their registry again, while they are served. What is served is an open file: a prune takes
 * its name and not its bytes.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContentStore } from '../content/content-store.js';
import type { Ingest } from '../content/ingest.js';
import { errnoOf, isLarderError, LarderError, systemError } from '../errors.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { AskGrant } from '../registry/blob.js';
import type { Descriptor } from '../spec/descriptor.js';
import { type DiffId, type Digest, parseDiffId } from '../spec/digest.js';
import { MAX_CONFIG_BYTES } from '../spec/image-config.js';
import { formatReference, type Reference } from '../spec/reference.js';
import { repositoryOf } from './access.js';
import { fileBody } from './body.js';
import { Download, type DownloadFile } from './download.js';
import type { Repositories } from './repositories.js';
import type { Upstream } from './upstream.js';

export interface BlobsParts {
  readonly repositories: Repositories;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  /** A layer that a record has under this digest, and the store has: its tar is here, so its compressed bytes are of no use to a pull. */
  readonly isUncompressed: (reference: Reference, digest: Digest) => Promise<boolean>;
  /** Rejects with LARDER_NO_SPACE where so many bytes more would take what is to stay free. */
  readonly requireSpace: (bytes: number, doing: string) => Promise<void>;
  readonly keepBlobs: boolean;
  readonly maxBytes: number;
}

/** To be disposed when it is served, or not. */
export interface OpenBlob extends AsyncDisposable {
  readonly digest: Digest;
  readonly size: number;
  /** Rejects with what is wrong where no byte of it can be had. */
  ready(): Promise<void>;
  /** `end` is behind the last byte. Rejects, before the last byte, where it is not what its digest says. */
  read(start: number, end: number): AsyncIterable<Uint8Array>;
}

/** What another process downloads is waited for so long; then it is fetched beside it: that process may be waiting for us. */
const WAIT_FOR_OTHERS_MS = 2000;

export class Blobs {
  readonly #parts: BlobsParts;
  /** By repository and digest. */
  readonly #downloads = new Map<string, Download>();
  readonly #running = new Set<Promise<void>>();

  constructor(parts: BlobsParts) {
    this.#parts = parts;
  }

  /** No download is under way any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** How long it is, and that the repository has it. Rejects with LARDER_REGISTRY_*, LARDER_BLOB_NOT_FOUND, LARDER_OFFLINE, LARDER_LAYER_LIMIT. */
  async describe(reference: Reference, digest: Digest, upstream: Upstream, signal: AbortSignal): Promise<Descriptor> {
    const { repositories, maxBytes } = this.#parts;
    const known = await repositories.findBlob(reference, digest);
    const { mediaType = '' } = known ?? {};
    const size = known?.size ?? (await upstream.blobSize(reference, digest, { signal }));
    if (known === undefined) repositories.learnBlob(reference, digest, size);
    if (size <= maxBytes) return { mediaType, digest, size };
    throw new LarderError(
      'LARDER_LAYER_LIMIT',
      `serve ${formatReference(reference)}: ${size} bytes are more than ${maxBytes}`,
      {
        hint: 'raise max_layer_bytes',
      },
    );
  }

  /** `wanted`: as {@link describe} answers. Asks nobody where the store has it. */
  async open(reference: Reference, wanted: Descriptor, upstream: Upstream, signal: AbortSignal): Promise<OpenBlob> {
    const known = await this.#parts.repositories.findBlob(reference, wanted.digest);
    // What is here may be another repository's, and be nothing for who asks for this one.
    if (known?.provenBytes === wanted.size) {
      const stored = (await this.#kept(wanted)) ?? (await this.#tar(wanted));
      if (stored !== undefined) return storedBlob(stored, wanted);
    }
    if (known?.role === 'config' && wanted.size <= MAX_CONFIG_BYTES)
      return this.#config(reference, wanted, upstream, signal);
    return this.#download(reference, wanted, upstream, known?.provenBytes ?? 0, signal);
  }

  async #kept({ digest, size }: Descriptor): Promise<FileHandle | undefined> {
    const file = await openIfThere(this.#parts.content.pathOf(digest));
    if (file === undefined || (await file.stat()).size === size) return file;
    await file.close();
    return undefined;
  }

  /** A layer that was transferred as it is: its digest is its DiffID. */
  async #tar({ digest, size }: Descriptor): Promise<FileHandle | undefined> {
    const { layers } = this.#parts;
    const diffId = diffIdOf(digest);
    if (diffId === undefined || (await layers.record(diffId))?.tarSize !== size) return undefined;
    try {
      return await layers.openTar(diffId);
    } catch (error) {
      if (isLarderError(error, 'LARDER_LAYER_CORRUPT')) return undefined;
      throw error;
    }
  }

  async #config(reference: Reference, wanted: Descriptor, upstream: Upstream, signal: AbortSignal): Promise<OpenBlob> {
    const bytes = await upstream.config(reference, wanted, { signal });
    await this.#parts.content.put(bytes, wanted.digest);
    this.#parts.repositories.learnBytes(reference, wanted.digest, wanted.size);
    return {
      ...wanted,
      ready: async () => {},
      read: async function* (start, end) {
        yield bytes.subarray(start, end);
      },
      [Symbol.asyncDispose]: async () => {},
    };
  }

  async #download(
    reference: Reference,
    { digest, size }: Descriptor,
    upstream: Upstream,
    provenBytes: number,
    signal: AbortSignal,
  ): Promise<OpenBlob> {
    // Not by the digest alone: who was let into one repository is served what that one sends.
    const key = `${repositoryOf(reference)} ${digest}`;
    let download = this.#downloads.get(key);
    if (download?.size !== size || !download.isOpen) {
      download = new Download(digest, size);
      this.#downloads.set(key, download);
      const running = this.#run(reference, download, upstream, provenBytes).finally(() => {
        this.#running.delete(running);
        if (this.#downloads.get(key) === download) this.#downloads.delete(key);
      });
      this.#running.add(running);
    }
    const joined = download.join(signal);
    const shared = download;
    return {
      digest,
      size,
      ready: () => shared.begun(signal),
      read: (start, end) => shared.read(start, end, signal),
      [Symbol.asyncDispose]: () => joined[Symbol.asyncDispose](),
    };
  }

  /** Never rejects. */
  async #run(reference: Reference, download: Download, upstream: Upstream, provenBytes: number): Promise<void> {
    const { digest, signal } = download;
    const granted = upstream.blob(reference, digest, { signal });
    // Who asks is told; that nobody does is no reason to keep a connection.
    const broker = granted.catch(() => undefined);
    const ask: AskGrant = async (request) => (await granted).ask(request);
    try {
      await download.run(() => this.#openFile(reference, download, provenBytes), ask);
    } finally {
      (await broker)?.[Symbol.dispose]();
    }
  }

  async #openFile(
    reference: Reference,
    { digest, size, signal }: Download,
    provenBytes: number,
  ): Promise<DownloadFile> {
    const ingest = await this.#openIngest(digest, signal);
    const doing = `serve ${digest}`;
    if (ingest === undefined) {
      await this.#parts.requireSpace(size, doing);
      return this.#openBeside(digest);
    }
    const open = async (): Promise<FileHandle> => {
      await this.#parts.requireSpace(Math.max(0, size - ingest.size), doing);
      return openFile(ingest.dataPath);
    };
    return {
      handle: await open().catch(async (error: unknown) => {
        await ingest[Symbol.asyncDispose]();
        throw error;
      }),
      size: Math.min(ingest.size, provenBytes),
      done: async (outcome, bytes) => {
        this.#parts.repositories.learnBytes(reference, digest, outcome === 'wrong' ? 0 : bytes);
        if (outcome === 'wrong') return ingest.abort();
        if (outcome === 'unfinished') return ingest[Symbol.asyncDispose]();
        if (this.#parts.keepBlobs) return ingest.finish({ keepBlob: true });
        // A pull that needs it finds the download whole; where there is nothing left to pull it would only take space.
        if (await this.#parts.isUncompressed(reference, digest)) return ingest.finish();
        return ingest[Symbol.asyncDispose]();
      },
    };
  }

  /** Undefined while somebody else downloads it. */
  async #openIngest(digest: Digest, signal: AbortSignal): Promise<Ingest | undefined> {
    const soon = AbortSignal.any([signal, AbortSignal.timeout(WAIT_FOR_OTHERS_MS)]);
    try {
      return await this.#parts.content.openIngest(digest, { signal: soon });
    } catch (error) {
      if (!signal.aborted && isLarderError(error, 'LARDER_ABORTED')) return undefined;
      throw error;
    }
  }

  async #openBeside(digest: Digest): Promise<DownloadFile> {
    const staging = await this.#parts.layers.stage();
    const directory = staging.outDir(digest);
    await mkdir(directory, { mode: 0o700 });
    return {
      handle: await openFile(join(directory, 'data')),
      size: 0,
      done: () => staging[Symbol.asyncDispose](),
    };
  }
}

function storedBlob(file: FileHandle, { digest, size }: Descriptor): OpenBlob {
  return {
    digest,
    size,
    ready: async () => {},
    read: (start, end) => fileBody(file, { digest, size }, start, end),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

function diffIdOf(digest: Digest): DiffId | undefined {
  return digest.startsWith('sha256:') ? parseDiffId(digest) : undefined;
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`open ${path}`, error);
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw systemError(`open ${path}`, error);
  }
}
