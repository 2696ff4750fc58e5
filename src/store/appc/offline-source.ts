import { LarderError } from '../../errors.js';
import { type AppcRequest, formatAppcRequest } from '../../spec/appc-name.js';
import type { AciSource, FetchedAci } from './aci-source.js';

/** In the place of sites and servers where nobody may be asked. */
export class OfflineSource implements AciSource {
  /** Rejects with LARDER_OFFLINE. */
  async fetch(request: AppcRequest): Promise<FetchedAci> {
    throw new LarderError('LARDER_OFFLINE', `fetch ${formatAppcRequest(request)}: larder is offline`, {
      hint: 'fetch it while the network may be used, or put the ACI in a directory that appc_simple_discovery_uri_prefix names',
    });
  }
}
