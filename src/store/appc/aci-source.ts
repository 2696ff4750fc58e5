/** Where ACIs come from. It discovers and downloads, and checks the signature; the store verifies and writes. */
import type { OperationOptions } from '../../events.js';
import type { AppcRequest } from '../../spec/appc-name.js';

export interface FetchedAci {
  /** The file as transferred: in the directory that was given, or where the image lies on this machine. */
  readonly path: string;
  readonly size: number;
  /** For messages: an address without a query, or a path. */
  readonly from: string;
  /** A signature was found and is right. */
  readonly signed: boolean;
  /** The file is not ours: it is read where it lies. */
  readonly borrowed: boolean;
}

export interface AciSource {
  /**
   * Of a download it tells `layer-start` and `layer-progress`, with the request's canonical text for the layer. Rejects
   * with LARDER_IMAGE_NOT_FOUND, LARDER_SIGNATURE_INVALID, LARDER_REGISTRY_*, LARDER_OFFLINE, LARDER_TIMEOUT, …
   */
  fetch(request: AppcRequest, directory: string, options: OperationOptions): Promise<FetchedAci>;
}
