/**
 * ▸ How a worker thread fetches one blob: the worker owns the socket, the broker on the main thread grants each
 * request. Tokens, limits, redirect policy, back-off and host health therefore live in one place, and a worker never
 * sees a credential beyond the headers of the one request that it was granted. Everything here is plain data.
 */
import type { Digest } from '../spec/digest.js';

/** What became of the request that was granted before, so that the broker can decide what is next. */
export type BlobOutcome =
  | {
      readonly kind: 'status';
      readonly url: string;
      readonly status: number;
      /** Only those that the broker may need: www-authenticate, location, retry-after, and a short error body. */
      readonly headers: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  | {
      readonly kind: 'error';
      readonly url: string;
      readonly message: string;
      readonly errno?: string;
      readonly received: number;
    };

export interface BlobRequest {
  readonly digest: Digest;
  /** First byte wanted. */
  readonly offset: number;
  /** 0 for the first request for this blob in this pull. */
  readonly attempt: number;
  readonly previous?: BlobOutcome;
  /**
   * Which of the blob's further connections asks, from 1; left out for the first. What becomes of its requests is its
   * own matter: failures are not told, and what it does not get the first connection asks for.
   */
  readonly lane?: number;
}

/** Permission for exactly one request. */
export interface BlobGrant {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Wait this long before connecting. */
  readonly afterMs: number;
  readonly connectTimeoutMs: number;
  /** How many connections the blob may have at this time, the first one included. Left out: one. */
  readonly connections?: number;
  /** The request fails when no byte arrives for this long. */
  readonly stallTimeoutMs: number;
  /** The request fails, too, when what comes while it is waited for is slower than this. */
  readonly lowSpeed?: LowSpeed;
  /** PEM, in addition to the system's. */
  readonly ca?: string;
  /** PEM: who we are to this host. */
  readonly clients?: readonly { readonly cert: string; readonly key: string }[];
  /** URL of the proxy to go through, with its login: for no message. */
  readonly proxy?: string;
  readonly insecureTls?: boolean;
  /** Address ranges that must not be connected to: where another host's redirect may not lead (server-side request forgery). */
  readonly refuseAddresses?: readonly AddressRange[];
}

/** What is slower over so much waiting is no progress. */
export interface LowSpeed {
  readonly bytesPerSecond: number;
  readonly overMs: number;
}

/** Ranges of addresses that mean something only from where this machine stands. */
export type AddressRange = 'loopback' | 'link-local' | 'private';

/** A request for a part of a blob, `to` not included, that goes to this host after so long. */
export interface BlobRange {
  readonly type: 'layer-range';
  readonly host: string;
  readonly from: number;
  readonly to: number;
  readonly afterMs: number;
}

/** Asks the broker; rejects with the error that ends the fetch (LARDER_REGISTRY_*, LARDER_BLOB_NOT_FOUND, …). */
export type AskGrant = (request: BlobRequest) => Promise<BlobGrant>;
