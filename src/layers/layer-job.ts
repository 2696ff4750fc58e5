/** What goes to a worker thread for one layer and what comes back: plain data only. */
import type { LayerWaits } from '../events.js';
import type { DiffId, Digest } from '../spec/digest.js';
import type { RootfsView } from '../spec/stack.js';
import type { LayerLimits } from '../tar/entry.js';
import type { DataSource } from '../tree/types.js';

/** Where a layer's bytes, as transferred, come from. */
export type LayerSource =
  /** The thread fetches them itself and asks for leave to make each request (a `BlobRequest`, answered by a `BlobGrant`). */
  | { readonly kind: 'registry' }
  /** A part of a file, `size` bytes from `offset`: a layer in an archive or an OCI layout. */
  | { readonly kind: 'file'; readonly path: string; readonly offset: number };

export interface LayerJob {
  /** What the bytes must hash to. Only a file source may leave it out, and then `expectedDiffId` or `tarSha512` must be given. */
  readonly digest?: Digest;
  /** Bytes as transferred, exactly. */
  readonly size: number;
  /** Says the compression, and the bytes must agree. Only where nothing says it (archives) it is left out, and the bytes alone decide. */
  readonly mediaType?: string;
  readonly expectedDiffId?: DiffId;
  /**
   * Asks for the SHA-512 of the tar: the image id of an Appc image. Where the job names neither digest nor DiffID,
   * nothing but the size is verified here: the caller compares the id before it adopts the layer.
   */
  readonly tarSha512?: true;
  readonly source: LayerSource;
  /** Of a registry source: the file to which the bytes are appended as they come, and which an earlier run may have begun. */
  readonly ingestData?: string;
  /** An empty or missing directory of the caller's staging area; receives `layer/layer.tar` and `derived/…`. */
  readonly outDir: string;
  readonly limits: LayerLimits;
}

export interface DerivedFile {
  readonly path: string;
  /** Hex. */
  readonly sha256: string;
  readonly size: number;
}

/** A layer that is staged: verified, indexed and durable, but not yet part of the store. */
export interface LayerResult {
  /** Of the bytes as transferred; computed, whether the job named one or not. */
  readonly digest: Digest;
  readonly size: number;
  readonly diffId: DiffId;
  readonly tarSize: number;
  /** Hex, of the whole uncompressed tar; only where the job asked for it. */
  readonly tarSha512?: string;
  readonly entries: number;
  /** The job's `outDir`. */
  readonly outDir: string;
  readonly index: DerivedFile;
  /** Files whose bytes the kernel cannot map from the tar; undefined when there is none. */
  readonly extra: DerivedFile | undefined;
  /** Bytes that came from the source in this run, those of a refetch included. */
  readonly received: number;
  /** Bytes that an earlier run had left; 0 when they were thrown away. */
  readonly resumedFrom: number;
  readonly ms: number;
}

/** All that the task `layer` sends while it runs: at most every 100 ms, at least every 500 ms, and once at the start. */
export interface LayerProgress {
  readonly type: 'layer-progress';
  /** Bytes of the layer as transferred that are here, those of an earlier run included. */
  readonly received: number;
  /** Bytes of the tar so far. */
  readonly written: number;
  readonly resumedFrom: number;
  readonly doing: 'receive' | 'verify';
  readonly waited: LayerWaits;
}

/** The task `index`: makes a layer's derived files again from its tar, and proves the tar at the same time. */
export interface IndexJob {
  readonly diffId: DiffId;
  readonly tarPath: string;
  readonly tarSize: number;
  readonly outDir: string;
  readonly limits: LayerLimits;
}

export type IndexResult = Pick<LayerResult, 'diffId' | 'tarSize' | 'entries' | 'index' | 'extra'>;

/** The task `verify`: SHA-256 of a whole file. */
export interface VerifyJob {
  readonly path: string;
}

export interface VerifyResult {
  /** Hex. */
  readonly sha256: string;
  readonly size: number;
}

/** The task `merge`: from the indexes of an image's layers to one EROFS image of their merged tree. */
export interface MergeJob {
  /** Base first. */
  readonly layers: readonly MergeInput[];
  /** Hex; its first 16 bytes become the image's UUID. */
  readonly mergedKey: string;
  /** Where the image goes, complete and durable, when the task resolves. Undefined: only see whether it can be made. */
  readonly outPath: string | undefined;
}

export interface MergeInput {
  readonly diffId: DiffId;
  /** Undefined: its entries are read as OCI does. */
  readonly rootfs: RootfsView | undefined;
  readonly index: DerivedFile;
  readonly extra: DerivedFile | undefined;
}

export interface MergeResult {
  /** Hex; empty when nothing was written. */
  readonly sha256: string;
  readonly size: number;
  /** Inodes of the merged tree. */
  readonly entries: number;
  /** In the order in which the kernel must be given the data files. */
  readonly devices: readonly { readonly layer: number; readonly source: DataSource }[];
}
