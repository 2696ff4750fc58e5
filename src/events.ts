import type { ErrorCode } from './errors.js';

/**
 * What larder tells while it works. Events are plain data; a listener that throws is a bug of the listener and
 * surfaces as an unhandled error, it never changes the outcome of the work.
 *
 * All sizes and positions are bytes, all times milliseconds. `layer` is the digest of the layer as transferred; of an
 * Appc image, whose id nobody knows before it is here, it is the image's canonical text. New types and members may be
 * added: who reads them ignores what it does not know. docs/progress.md lists them.
 */
export type LarderEvent =
  | { readonly type: 'resolve'; readonly reference: string }
  | {
      readonly type: 'resolved';
      readonly reference: string;
      readonly digest: string;
      readonly platform: string;
      readonly cached: boolean;
    }
  | {
      readonly type: 'plan';
      readonly layers: readonly {
        readonly layer: string;
        readonly size: number;
        readonly state: 'present' | 'fetch';
      }[];
    }
  /** A token server has given a token, to which login nobody is told. `from` is the token server's host. */
  | { readonly type: 'token'; readonly host: string; readonly from: string }
  | { readonly type: 'layer-start'; readonly layer: string; readonly size: number; readonly resumedFrom: number }
  /**
   * A request for the layer's bytes `from` (included) to `to` (not included) may go to `host` now, or after `afterMs`.
   * Several may be under way at once; redirects and logins are requests of their own.
   */
  | {
      readonly type: 'layer-range';
      readonly layer: string;
      readonly host: string;
      readonly from: number;
      readonly to: number;
      readonly afterMs: number;
    }
  /** At most ten a second for each layer, and at least one a second while it is fetched. */
  | {
      readonly type: 'layer-progress';
      readonly layer: string;
      /** Of the bytes as transferred, those of an earlier run included. */
      readonly received: number;
      /** Of its tar. */
      readonly written: number;
      /** Bytes come in, or all are here and the last of them are inflated, hashed and made durable. */
      readonly doing?: 'receive' | 'verify';
      /** Where the time went since the layer was begun. */
      readonly waited?: LayerWaits;
      /** Another process does the work: this one waits for it. */
      readonly pid?: number;
    }
  /** `pid` is told when it is known who fetches it. */
  | {
      readonly type: 'layer-wait';
      readonly layer: string;
      readonly reason: 'another-process' | 'network';
      readonly pid?: number;
    }
  /** Size, digest and DiffID are right and the files durable; it becomes part of the store now. `size` is its tar's. */
  | { readonly type: 'layer-verified'; readonly layer: string; readonly diffId: string; readonly size: number }
  | {
      readonly type: 'layer-done';
      readonly layer: string;
      readonly diffId: string;
      readonly received: number;
      readonly written: number;
      readonly entries: number;
      readonly ms: number;
    }
  | {
      readonly type: 'retry';
      readonly what: string;
      readonly reason: string;
      readonly attempt: number;
      readonly afterMs: number;
    }
  /** A host asked to be left alone, and `what` waits for so long before it asks there. */
  | { readonly type: 'rate-limit'; readonly what: string; readonly host: string; readonly afterMs: number }
  /** A mirror is asked for something; or, with `insteadOf`, a host is asked since another one was passed over. */
  | {
      readonly type: 'mirror';
      readonly what: string;
      readonly host: string;
      readonly insteadOf?: string;
      readonly reason?: string;
    }
  | { readonly type: 'merge'; readonly layers: number; readonly entries: number; readonly ms: number }
  | { readonly type: 'commit'; readonly reference: string; readonly imageId: string }
  | { readonly type: 'mounted'; readonly container: string; readonly rootfs: string; readonly backend: string }
  | { readonly type: 'destroyed'; readonly container: string }
  | {
      readonly type: 'removed';
      readonly what: 'image' | 'layer' | 'blob' | 'derived';
      readonly name: string;
      readonly bytes: number;
    }
  /** How much of a long work on the whole store is done. */
  | {
      readonly type: 'progress';
      readonly what: 'check' | 'rebuild' | 'repair' | 'export';
      readonly done: number;
      readonly total: number;
    }
  /** The first event for who attaches to a pull that is under way: all that it has told so far, in short. */
  | { readonly type: 'snapshot'; readonly pull: PullFacts; readonly layers: readonly LayerSnapshot[] }
  /** The last event for who is attached to a pull. `lost`: its process is gone without having told how it ended. */
  | {
      readonly type: 'ended';
      readonly outcome: 'done' | 'failed' | 'cancelled' | 'lost';
      readonly error?: { readonly code: ErrorCode; readonly message: string; readonly hint?: string };
    }
  /** Who reads more slowly than events come has missed so many, the oldest. Steps of progress do not count. */
  | { readonly type: 'missed'; readonly events: number }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'debug'; readonly scope: string; readonly message: string };

/** Where the worker's time went, all since the layer was begun; together it is that time. */
export interface LayerWaits {
  /** Nothing to do but wait for bytes from the network. */
  readonly networkMs: number;
  /** Inflating and hashing. */
  readonly inflateMs: number;
  /** Waiting for the disk to take what is inflated, and for syncs. */
  readonly diskMs: number;
  /** Waiting because a host asked for it, or after a failure before the next try. */
  readonly pausedMs: number;
}

/** `elsewhere`: another process fetches it. */
export type LayerState = 'present' | 'waiting' | 'fetching' | 'verifying' | 'elsewhere' | 'done';

export interface LayerSnapshot {
  readonly layer: string;
  readonly size: number;
  readonly state: LayerState;
  readonly resumedFrom: number;
  readonly received: number;
  readonly written: number;
  readonly waited?: LayerWaits;
  /** Which was asked last for its bytes. */
  readonly host?: string;
  /** Of the process that fetches it, where that is another one. */
  readonly pid?: number;
}

/** A pull that is under way, in whichever process. */
export interface PullFacts {
  readonly id: string;
  /** Canonical. */
  readonly reference: string;
  /** `os/arch[/variant]` */
  readonly platform: string;
  readonly pid: number;
  readonly startedAtMs: number;
}

export type OnEvent = (event: LarderEvent) => void;

/** What every long operation takes last. */
export interface OperationOptions {
  readonly signal?: AbortSignal;
  readonly onEvent?: OnEvent;
}
