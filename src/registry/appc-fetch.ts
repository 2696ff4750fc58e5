/**
 * ▸ Fetches Appc images (Appc specification 0.8.11, discovery.md): from where the settings say that images are (simple
 * discovery: a directory, a web server, HDFS), or from where the site says that gave the image its name (meta discovery).
 * Owns nothing on disk but the one file that it makes in the directory of its caller. Nobody logs in anywhere.
 *
 * What it returns has a good signature where the configuration wants one for the name, and is otherwise what the server
 * sent: whether it is the image that was asked for, its manifest and its id tell, and the store compares them. HTTPS
 * unless a host is loopback, was named insecure, or the configured prefix itself is plain HTTP. A site, or an image that
 * names its dependencies, cannot send us to addresses that only mean something where this machine stands.
 * Called by the Appc store, on the main thread.
 */
import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expectManyListeners } from '../concurrency.js';
import { isLarderError, LarderError, systemError, throwIfAborted } from '../errors.js';
import type { OperationOptions } from '../events.js';
import { type AppcRequest, formatAppcRequest } from '../spec/appc-name.js';
import { isLoopbackHost } from './addresses.js';
import type { OnReceived } from './appc-http.js';
import { findPlaces } from './appc-locate.js';
import { type AciPlace, type CopyOptions, sizeOfFile } from './appc-places.js';
import { type AppcTrust, keyFilesFor, MAX_SIGNATURE_BYTES, verifySignature } from './appc-trust.js';
import { readCertificates } from './certificates.js';
import { NO_CREDENTIALS } from './credentials.js';
import type { FindProxy } from './hosts/proxy.js';
import { type Network, PROCESS_NETWORK } from './network.js';
import { DEFAULT_TIMEOUTS, type RegistryTimeouts } from './registry-client.js';
import type { HostSettings } from './registry-host.js';

export interface AciFetcherOptions {
  /**
   * Simple discovery: `{prefix}{name}-{version}-{os}-{arch}.aci`, joined without a separator. `http://…`, `https://…` (a
   * bare scheme takes the host from the name), `hdfs://…`, `file:///…` or an absolute path. Left out: meta discovery.
   */
  readonly simplePrefix?: string;
  /** Where Hadoop is installed, for `hdfs://`. */
  readonly hadoopHome?: string;
  readonly trust?: AppcTrust;
  /** `host[:port]` that may be spoken to over plain HTTP, or TLS that nobody vouches for. Loopback may always use plain HTTP. */
  readonly insecureRegistries?: readonly string[];
  /** PEM files, trusted in addition to the authorities that Node brings. */
  readonly caFiles?: readonly string[];
  /** Default: no proxy. */
  readonly proxyFor?: FindProxy;
  readonly userAgent?: string;
  readonly timeouts?: Partial<RegistryTimeouts>;
  /** What is known of hosts, and the connections: shared with other clients. Default: with all of this process. */
  readonly network?: Network;
  /** Of one ACI as it is transferred. Default: 256 GiB. */
  readonly maxAciBytes?: number;
  /** Where pages for meta discovery are asked for. Default: the scheme's port. */
  readonly discoveryPort?: number;
}

export interface FetchedAci {
  /** The ACI, compressed as it was transferred. Not synced. */
  readonly path: string;
  readonly size: number;
  /** URL without a query, or path. */
  readonly from: string;
  /** Whether a key that is configured for its name has signed it. */
  readonly signed: boolean;
  /** Fingerprint of the primary key that has. */
  readonly signer?: string;
  /** The file is not ours: it is read where it is, once, and never moved or removed. */
  readonly borrowed: boolean;
}

const DEFAULT_MAX_BYTES = 256 * 2 ** 30;

/** One fetch and all that belongs to it. */
interface Work {
  readonly request: AppcRequest;
  readonly directory: string;
  readonly doing: string;
  readonly options: OperationOptions;
}

export class AciFetcher {
  readonly #options: AciFetcherOptions;

  constructor(options: AciFetcherOptions = {}) {
    this.#options = options;
  }

  /**
   * The image's file, new in `directory` unless it is `borrowed`; what fails leaves nothing there. Rejects with
   * LARDER_IMAGE_NOT_FOUND, LARDER_REGISTRY_*, LARDER_TIMEOUT, LARDER_POLICY_DENIED, LARDER_SIGNATURE_INVALID,
   * LARDER_LAYER_LIMIT when it is too large, LARDER_REFERENCE_INVALID for a name or label that cannot be looked for,
   * LARDER_FLAGS_INVALID for a prefix that is none, LARDER_ABORTED. A download over HTTP tells `layer-start` and
   * `layer-progress`, with the request's canonical text for the layer.
   */
  async fetch(request: AppcRequest, directory: string, options: OperationOptions = {}): Promise<FetchedAci> {
    const doing = `fetch the Appc image: ${formatAppcRequest(request)}`;
    throwIfAborted(options.signal, doing);
    expectManyListeners(options.signal);
    const keyFiles = keyFilesFor(this.#options.trust, request.name, doing);
    const work: Work = { request, directory, doing, options };
    const places = await findPlaces(request, {
      ...this.#options,
      doing,
      options,
      settings: await this.#settings(options),
    });
    let first: unknown;
    for (const place of places) {
      options.onEvent?.({ type: 'debug', scope: 'appc', message: `${request.name}: looked for at ${place.from}` });
      try {
        const fetched = await this.#take(place, keyFiles, work);
        warnOfOpenPlace(place, keyFiles, work);
        return fetched;
      } catch (error) {
        first ??= error;
        if (!mayBeElsewhere(error)) break;
      }
    }
    throw first;
  }

  async #take(place: AciPlace, keyFiles: readonly string[] | undefined, work: Work): Promise<FetchedAci> {
    const { directory, doing, options } = work;
    const limits = this.#limits(work, this.#options.maxAciBytes ?? DEFAULT_MAX_BYTES);
    const { from } = place;
    if (keyFiles === undefined && place.localPath !== undefined) {
      const size = await sizeOfFile(place.localPath, limits);
      return { path: place.localPath, size, from, signed: false, borrowed: true };
    }
    const path = newPath(directory, 'aci');
    // The signature first: it is small, and without it the rest is in vain.
    const signature = keyFiles === undefined ? undefined : await this.#signature(place, work);
    const size = await place.copy('aci', path, { ...limits, onReceived: receivedBy(work) });
    if (keyFiles === undefined || signature === undefined) return { path, size, from, signed: false, borrowed: false };
    try {
      const signer = await verifySignature(path, signature, keyFiles, { doing, directory, signal: options.signal });
      return { path, size, from, signed: true, signer, borrowed: false };
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  /** Rejects with LARDER_SIGNATURE_INVALID where there is an image without one. */
  async #signature(place: AciPlace, work: Work): Promise<Uint8Array> {
    const { directory, doing } = work;
    const path = newPath(directory, 'asc');
    try {
      await place.copy('aci.asc', path, this.#limits(work, MAX_SIGNATURE_BYTES));
      return await readFile(path);
    } catch (error) {
      if (!isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) throw systemError(doing, error);
      if (!(await this.#hasImage(place, work))) throw error;
      throw new LarderError('LARDER_SIGNATURE_INVALID', `${doing}: there is no signature for it at ${place.from}`, {
        hint: 'keys are configured for this name, so it must be signed: offer a .aci.asc beside the .aci',
        cause: error,
      });
    } finally {
      await rm(path, { force: true });
    }
  }

  /** Asks for the image and takes none of it. */
  async #hasImage(place: AciPlace, work: Work): Promise<boolean> {
    const path = newPath(work.directory, 'aci');
    try {
      await place.copy('aci', path, this.#limits(work, 0));
      await rm(path);
      return true;
    } catch (error) {
      if (isLarderError(error, 'LARDER_LAYER_LIMIT')) return true;
      if (isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) return false;
      throw error;
    }
  }

  #limits({ doing, options: { signal } }: Work, maxBytes: number): CopyOptions {
    const tooLong = (): LarderError =>
      new LarderError('LARDER_LAYER_LIMIT', `${doing}: the file is larger than the limit of ${maxBytes} bytes`);
    return { doing, maxBytes, tooLong, signal };
  }

  async #settings({ onEvent }: OperationOptions): Promise<HostSettings> {
    const { insecureRegistries, caFiles, proxyFor, userAgent, timeouts, network } = this.#options;
    const { connectMs, stallMs, backoffMs, lowSpeedBytes, lowSpeedMs } = { ...DEFAULT_TIMEOUTS, ...timeouts };
    return {
      credentials: NO_CREDENTIALS,
      insecure: new Set((insecureRegistries ?? []).map((host) => host.toLowerCase())),
      tokenHosts: {},
      ca: await readCertificates(caFiles ?? []),
      proxyFor,
      userAgent: userAgent ?? 'larder',
      connectTimeoutMs: connectMs,
      stallTimeoutMs: stallMs,
      lowSpeed: { bytesPerSecond: lowSpeedBytes, overMs: lowSpeedMs },
      backoffMs,
      network: network ?? PROCESS_NETWORK,
      onEvent,
    };
  }
}

/** Another place that the site names may have what this one has not, or be there when this one is not. */
function mayBeElsewhere(error: unknown): boolean {
  return (
    isLarderError(error, 'LARDER_IMAGE_NOT_FOUND', 'LARDER_REGISTRY_UNAUTHENTICATED', 'LARDER_REGISTRY_DENIED') ||
    (isLarderError(error) && error.retryable && error.code !== 'LARDER_NO_SPACE')
  );
}

const TELL_EVERY_MS = 100;

/** Tells what has come, and not more often than anybody looks. */
function receivedBy({ request, options: { onEvent } }: Work): OnReceived {
  const layer = formatAppcRequest(request);
  let toldAtMs = 0;
  return (received, size) => {
    if (received === 0) onEvent?.({ type: 'layer-start', layer, size: size ?? 0, resumedFrom: 0 });
    const nowMs = performance.now();
    if (nowMs - toldAtMs < TELL_EVERY_MS) return;
    toldAtMs = nowMs;
    onEvent?.({ type: 'layer-progress', layer, received, written: 0 });
  };
}

function newPath(directory: string, ext: string): string {
  return join(directory, `${randomBytes(8).toString('hex')}.${ext}`);
}

function warnOfOpenPlace(place: AciPlace, keyFiles: readonly string[] | undefined, { request, options }: Work): void {
  if (!place.isOpen || keyFiles !== undefined || request.id !== undefined) return;
  if (isLoopbackHost(new URL(place.from).hostname)) return;
  const message = `${place.from}: fetched over plain HTTP, without a signature and without an image id to compare with`;
  options.onEvent?.({ type: 'warning', message });
}
