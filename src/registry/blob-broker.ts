import { LarderError } from '../errors.js';
import type { BlobGrant, BlobRequest } from './blob.js';

/** Grants the requests for the blobs of one repository. Main thread only. */
export interface BlobBroker {
  /** An {@link AskGrant}: hand `(request) => broker.ask(request)` to the worker's side. */
  ask(request: BlobRequest): Promise<BlobGrant>;
}

export function notYet(): never {
  throw new LarderError('LARDER_INTERNAL', 'registry: not written yet');
}
