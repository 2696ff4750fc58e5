/**
 * ▸ The one-pass pipeline: a layer's bytes are received, hashed, kept for a resume, inflated, hashed, indexed and written
 * in one go, in bounded memory, whatever the layer says of itself.
 *
 *     source -> size gate -> blocks -> ingest data *
 *                              |----> compressed digest
 *                              \----> inflate * -> blocks -> tar reader -> index
 *                                                     |----> layer.tar *
 *                                                     \----> DiffID
 *
 * What is marked runs on libuv's pool, the rest on this thread. When {@link writeLayer} has settled nothing of it does.
 *
 * Owns `<outDir>/layer` and `<outDir>/derived` until it settles, and the content of the ingest data file. A result
 * exists only when the size, the compressed digest and the DiffID are right and all files are durable: verification is
 * part of the stream, there is no way around it. On any failure the staged files are gone. The prefix of a download
 * stays when it may be right (cancelled, connection lost, disk full), and goes when its bytes are known to be wrong.
 */
import { isLarderError, LarderError, throwIfAborted } from '../errors.js';
import type { AskGrant, BlobRange } from '../registry/blob.js';
import { fetchBlob, type Pace } from '../registry/fetch-blob.js';

import { DownloadFile } from './download-file.js';
import { readInPieces } from './file-pieces.js';
import type { LayerJob, LayerProgress, LayerResult } from './layer-job.js';
import { LayerPass } from './layer-pass.js';
import { WaitClock } from './layer-waits.js';
import { removeStaged } from './staging.js';

const PROGRESS_EVERY_MS = 100;
/** Where nothing comes, what is waited for is told all the same. */
const PROGRESS_AT_LEAST_MS = 500;

export interface LayerWriterContext {
  readonly signal: AbortSignal;
  /** Grants the requests of a registry source. */
  readonly ask: AskGrant;
  readonly onProgress?: (progress: LayerProgress) => void;
  /** A request for a part of a registry source goes out. */
  readonly onRange?: (range: BlobRange) => void;
  /** When further connections pay; for tests. */
  readonly pace?: Pace;
}

/**
 * Rejects with LARDER_DIGEST_MISMATCH, LARDER_SIZE_MISMATCH, LARDER_DIFF_ID_MISMATCH; LARDER_LAYER_INVALID,
 * LARDER_LAYER_LIMIT, LARDER_ENTRY_UNSUPPORTED, LARDER_MEDIA_TYPE_UNSUPPORTED for what is right but not usable;
 * LARDER_NO_SPACE; LARDER_ABORTED; and what the broker decides (LARDER_REGISTRY_…).
 */
export async function writeLayer(job: LayerJob, context: LayerWriterContext): Promise<LayerResult> {
  checkJob(job);
  const writing = LayerWriting.open(job, context);
  try {
    return await writing.attempt();
  } catch (error) {
    if (!isAboutBytes(error)) throw error;
    writing.dropPrefix();
    if (!writing.maybeMixed) throw error;
    // The bytes of an earlier run are proven by nothing, a server may not know what a range is, and a mirror that was left
    // in the middle may have sent anything.
    return await writing.secondAttempt();
  } finally {
    writing.close();
  }
}

class LayerWriting {
  readonly #job: LayerJob;
  readonly #context: LayerWriterContext;
  readonly #download: DownloadFile | undefined;
  readonly #startedMs = performance.now();
  readonly #clock = new WaitClock();
  #doing: LayerProgress['doing'] = 'receive';
  #resumedFrom: number;
  #received = 0;
  #answers = 0;
  #oneConnection = false;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(job: LayerJob, context: LayerWriterContext, download: DownloadFile | undefined) {
    this.#job = job;
    this.#context = context;
    this.#download = download;
    this.#resumedFrom = download?.size ?? 0;
  }

  static open(job: LayerJob, context: LayerWriterContext): LayerWriting {
    const { ingestData, size } = job;
    return new LayerWriting(job, context, ingestData === undefined ? undefined : DownloadFile.open(ingestData, size));
  }

  /** Whether the bytes came from several answers. */
  get maybeMixed(): boolean {
    return this.#resumedFrom > 0 || this.#answers > 1;
  }

  async attempt(): Promise<LayerResult> {
    const pass = new LayerPass(this.#job, this.#clock);
    const ticking = setInterval(() => this.#tell(pass, true), PROGRESS_AT_LEAST_MS);
    this.#doing = 'receive';
    try {
      await this.#feed(pass);
      this.#doing = 'verify';
      this.#tell(pass, true);
      const verified = await pass.verify(this.#context.signal);
      this.#tell(pass, true);
      return {
        ...verified,
        outDir: this.#job.outDir,
        received: this.#received,
        resumedFrom: this.#resumedFrom,
        ms: performance.now() - this.#startedMs,
      };
    } catch (error) {
      await pass.abandon();
      removeStaged(this.#job.outDir);
      throw error;
    } finally {
      clearInterval(ticking);
    }
  }

  async secondAttempt(): Promise<LayerResult> {
    this.#resumedFrom = 0;
    this.#oneConnection = true;
    try {
      return await this.attempt();
    } catch (error) {
      if (isAboutBytes(error)) this.dropPrefix();
      throw error;
    }
  }

  dropPrefix(): void {
    this.#download?.drop();
  }

  close(): void {
    this.#download?.close();
  }

  async #feed(pass: LayerPass): Promise<void> {
    const { signal } = this.#context;
    this.#tell(pass, true);
    if (this.#download !== undefined && this.#resumedFrom > 0) {
      for await (const piece of readInPieces(this.#download.path, { length: this.#resumedFrom, signal })) {
        await pass.write(piece);
        this.#tell(pass, false);
      }
    }
    if (this.#download !== undefined) await pass.keepIn(this.#download);
    // After a resume an unusable layer is more likely a damaged prefix: no byte more is worth fetching for it.
    if (this.#resumedFrom > 0) pass.throwIfRefused();
    this.#clock.receiving(true);
    for await (const piece of this.#source(pass.received)) {
      this.#clock.receiving(false);
      throwIfAborted(signal, `write layer ${pass.name}`);
      this.#received += piece.length;
      if (pass.received + piece.length > this.#job.size) throw pass.tooLong();
      const pending = pass.write(piece);
      if (pending !== undefined) await pending;
      if (this.#resumedFrom > 0) pass.throwIfRefused();
      this.#tell(pass, false);
      this.#clock.receiving(true);
    }
    this.#clock.receiving(false);
  }

  #source(offset: number): AsyncIterable<Uint8Array> {
    const { source, size, digest } = this.#job;
    const { signal, ask } = this.#context;
    if (source.kind === 'file') {
      return readInPieces(source.path, { offset: source.offset + offset, length: size - offset, signal });
    }
    if (digest === undefined) throw new LarderError('LARDER_INTERNAL', 'write layer: a registry layer has no digest');
    // Complete already: nothing to ask for.
    if (offset === size) return nothing();
    const timed: AskGrant = async (request) => {
      // Nobody waits for what is fetched ahead.
      if (request.lane !== undefined) return ask(request);
      this.#clock.asking(true);
      try {
        const grant = await ask(request);
        this.#clock.pausing(grant.afterMs);
        return grant;
      } finally {
        this.#clock.asking(false);
      }
    };
    const onAnswer = (): void => {
      this.#answers++;
    };
    const { pace, onRange } = this.#context;
    return fetchBlob({ digest, size }, offset, timed, {
      ...{ signal, onAnswer, oneConnection: this.#oneConnection },
      ...(pace === undefined ? {} : { pace }),
      ...(onRange === undefined ? {} : { onRange }),
    });
  }

  #tell(pass: LayerPass, always: boolean): void {
    const now = performance.now();
    if (!always && now - this.#toldMs < PROGRESS_EVERY_MS) return;
    this.#toldMs = now;
    const { received, written } = pass;
    this.#context.onProgress?.({
      ...{ type: 'layer-progress', received, written },
      ...{ resumedFrom: this.#resumedFrom, doing: this.#doing, waited: this.#clock.read() },
    });
  }
}

/** Something must say which layer is right: a job that does not is a mistake of ours. */
function checkJob({ digest, expectedDiffId, tarSha512 }: LayerJob): void {
  if (digest !== undefined || expectedDiffId !== undefined || tarSha512 !== undefined) return;
  throw new LarderError('LARDER_INTERNAL', 'write layer: nothing says what its bytes must be');
}

async function* nothing(): AsyncGenerator<Uint8Array, void, void> {}

/** Whether the failure says something of the bytes that came, rather than of the network, the disk or the caller. */
function isAboutBytes(error: unknown): boolean {
  return isLarderError(
    error,
    'LARDER_DIGEST_MISMATCH',
    'LARDER_SIZE_MISMATCH',
    'LARDER_DIFF_ID_MISMATCH',
    'LARDER_LAYER_INVALID',
    'LARDER_LAYER_CORRUPT',
    'LARDER_LAYER_LIMIT',
    'LARDER_MEDIA_TYPE_UNSUPPORTED',
    'LARDER_ENTRY_UNSUPPORTED',
  );
}
