/**
 * What both ends of the socket agree on: JSON over HTTP/1.1, versioned paths. Long operations answer
 * `application/x-ndjson`: `{"event":…}` lines, and one last line `{"result":…}` or `{"error":…}`. Loads nothing: a
 * command that only asks the daemon must start fast.
 */

import type { SerializedError } from '../errors.js';
import type { LarderEvent } from '../events.js';
import type { ImageRecord } from '../metadata/records.js';
import type { ImageInfo } from '../store/store.js';

export const JSON_TYPE = 'application/json';
export const LINES_TYPE = 'application/x-ndjson';
/** Names a running operation, so that it can be cancelled and still say how it ended. */
export const OPERATION_HEADER = 'larder-operation';
export const OPERATION_ID = /^[A-Za-z0-9-]{8,64}$/;
export const MAX_BODY_BYTES = 1024 * 1024;

/** What a long operation answers, line by line. */
export type Line = { readonly event: LarderEvent } | { readonly result: unknown } | { readonly error: SerializedError };

/** GET /v1/daemon: enough to know whether this daemon is the one to ask; asks neither the store nor the kernel. */
export interface DaemonFacts {
  readonly version: string;
  readonly pid: number;
  readonly root: string;
  readonly owner: string;
  /** SHA-256 of each setting that the daemon was given, by {@link fingerprint}: settings may hold credentials. */
  readonly settings: Readonly<Record<string, string>>;
  /** Who asks gets what his own logins reach: they come as the `config` of his requests. */
  readonly ownLogins?: boolean;
}

/** What a pull answers: the facts of the image, without a hold on it. */
export interface PulledSummary {
  readonly record: ImageRecord;
  readonly info: ImageInfo;
}
