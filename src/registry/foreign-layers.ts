/**
 * ▸ Layers that their registry has not got (OCI image-spec, `urls` of a descriptor; "foreign" or "non-distributable"
 * layers). Whoever wrote a manifest chose these addresses, so they are followed only to hosts that a setting names, over
 * HTTPS, and never with a credential (CVE-2020-15157). What comes is verified like any other layer.
 */
import { LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import type { Digest } from '../spec/digest.js';
import type { BlobGrant, BlobRequest, LowSpeed } from './blob.js';
import { readCertificates } from './certificates.js';
import { NO_CREDENTIALS } from './credentials.js';
import type { FindProxy } from './hosts/proxy.js';
import { type Network, PROCESS_NETWORK } from './network.js';
import { DEFAULT_TIMEOUTS } from './registry-client.js';
import { RegistryHost } from './registry-host.js';
import { RequestPlan } from './request-plan.js';

export interface ForeignLayersOptions {
  /** `host[:port]` that may be asked. */
  readonly hosts: readonly string[];
  /** PEM files, trusted in addition. */
  readonly caFiles: readonly string[];
  /** Default: no proxy. */
  readonly proxyFor?: FindProxy;
  readonly stallTimeoutMs: number;
  readonly lowSpeed?: LowSpeed;
  readonly network?: Network;
  readonly onEvent: OnEvent;
}

export class ForeignLayers {
  readonly #options: ForeignLayersOptions;
  readonly #hosts: ReadonlySet<string>;

  constructor(options: ForeignLayersOptions) {
    this.#options = options;
    this.#hosts = new Set(options.hosts.map((host) => host.toLowerCase()));
  }

  /**
   * Grants requests for one layer, at the first of its addresses that may be asked. Rejects with LARDER_BLOB_NOT_FOUND
   * when there is none, LARDER_POLICY_DENIED when it redirects to where nobody may be asked, and as the plan does.
   */
  source(
    digest: Digest,
    urls: readonly string[],
    signal: AbortSignal | undefined,
  ): (request: BlobRequest, missing: LarderError) => Promise<BlobGrant> {
    const url = urls.flatMap(parsed).find((one) => this.#mayBeAsked(one));
    const doing = `fetch foreign layer: ${digest}`;
    let plan: RequestPlan | undefined;
    return async (request, missing) => {
      if (url === undefined) throw notAllowed(doing, urls, missing);
      if (request.attempt === 0 || plan === undefined) plan = await this.#planFor(url, doing);
      const grant = await plan.next(request.attempt === 0 ? undefined : request.previous, signal);
      const to = new URL(grant.url);
      if (this.#mayBeAsked(to)) return grant;
      throw new LarderError(
        'LARDER_POLICY_DENIED',
        `${doing}: ${url.host} redirects to ${to.origin}, where it may not be fetched`,
        { hint: `add ${to.host} to foreign_layer_hosts if it is to be trusted` },
      );
    };
  }

  async #planFor(url: URL, doing: string): Promise<RequestPlan> {
    const { caFiles, proxyFor, stallTimeoutMs, lowSpeed, network, onEvent } = this.#options;
    const host = new RegistryHost(url.host, new URL('/', url), {
      credentials: NO_CREDENTIALS,
      insecure: new Set(),
      tokenHosts: {},
      ca: await readCertificates(caFiles),
      proxyFor,
      userAgent: 'larder',
      connectTimeoutMs: DEFAULT_TIMEOUTS.connectMs,
      stallTimeoutMs,
      lowSpeed: lowSpeed ?? { bytesPerSecond: DEFAULT_TIMEOUTS.lowSpeedBytes, overMs: DEFAULT_TIMEOUTS.lowSpeedMs },
      backoffMs: DEFAULT_TIMEOUTS.backoffMs,
      network: network ?? PROCESS_NETWORK,
      onEvent,
    });
    return new RequestPlan(host, { kind: 'plain', url, doing, notFound: 'LARDER_BLOB_NOT_FOUND' });
  }

  #mayBeAsked(url: URL): boolean {
    return url.protocol === 'https:' && url.username === '' && url.password === '' && this.#hosts.has(url.host);
  }
}

function parsed(text: string): URL[] {
  return URL.canParse(text) ? [new URL(text)] : [];
}

function notAllowed(doing: string, urls: readonly string[], missing: LarderError): LarderError {
  const hosts = [...new Set(urls.flatMap(parsed).map(({ host, protocol }) => (protocol === 'https:' ? host : '')))]
    .filter((host) => host !== '')
    .slice(0, 5);
  const where =
    hosts.length === 0 ? 'its manifest names no place that could be asked' : `its manifest names ${hosts.join(', ')}`;
  return new LarderError('LARDER_BLOB_NOT_FOUND', `${doing}: its registry has not got it, and ${where}`, {
    hint:
      hosts.length === 0
        ? 'ask who offers the image for one whose layers are in the registry'
        : 'the setting foreign_layer_hosts says which hosts may be asked for such layers',
    cause: missing,
  });
}
