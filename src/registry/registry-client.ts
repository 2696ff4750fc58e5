/**
 * ▸ The registry's pull API (OCI distribution-spec, "Pull"): resolves references, fetches manifests and configs, and
 * grants the requests with which worker threads fetch layers. Owns nothing on disk. The only folder that opens a
 * socket outward; HTTPS unless a host is loopback or was named insecure.
 *
 * What it returns is verified: by digest and size where these are known before; for a tag, the digest is that of
 * the bytes received, and what the registry says about it is a hint. No credential and no token reaches a host that
 * it was not meant for. Called by the pullers, on the main thread.
 */
import { expectManyListeners, SingleFlight } from '../concurrency.js';
import { LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import { type Descriptor, verifyBytes, verifyDigest } from '../spec/descriptor.js';
import { type Digest, digestOf, isDigest } from '../spec/digest.js';
import { MAX_CONFIG_BYTES } from '../spec/image-config.js';
import { MAX_MANIFEST_BYTES, type Manifest, parseLinks, parseManifest } from '../spec/manifest.js';
import { isSchema1, parseSchema1, type Schema1Manifest } from '../spec/manifest-v1.js';
import { ACCEPTED_MANIFESTS } from '../spec/media-types.js';
import { formatReference, type Reference, withDigest } from '../spec/reference.js';
import { BlobBroker, blobTarget, pathAt, pullScope } from './blob-broker.js';
import { readBlobEnd } from './blob-end.js';
import { readCertificates } from './certificates.js';
import type { Slot } from './connections.js';
import { type Credentials, NO_CREDENTIALS } from './credentials.js';
import { type GetWholeOptions, getWhole, type WholeAnswer } from './get-whole.js';
import { DIRECT, type Endpoint, type RegistryHosts, type Server } from './hosts/endpoint.js';
import type { FindProxy } from './hosts/proxy.js';
import { MirrorPlan } from './mirror-plan.js';
import { type Network, PROCESS_NETWORK } from './network.js';
import { tellRateLimit } from './rate-limit.js';
import { openHost, type RegistryHost } from './registry-host.js';
import type { RegistryTarget } from './request-plan.js';

export interface RegistryTimeouts {
  /** Until a connection stands, TLS included. */
  readonly connectMs: number;
  /** Without a byte while one is waited for. */
  readonly stallMs: number;
  /** First pause before a retry; doubles each time, half of it random. */
  readonly backoffMs: number;
  /** Slower than so many bytes a second is no progress … */
  readonly lowSpeedBytes: number;
  /** … when it was waited for so long. */
  readonly lowSpeedMs: number;
}

export interface RegistryOptions {
  readonly credentials?: Credentials;
  /** `host[:port]` that may be spoken to over plain HTTP, or TLS that nobody vouches for. Loopback may always use plain HTTP. */
  readonly insecureRegistries?: readonly string[];
  /** For a registry's `host[:port]`: token servers (exact `host[:port]`) in other domains that may have its credentials. */
  readonly tokenHosts?: Readonly<Record<string, readonly string[]>>;
  /** PEM files, trusted in addition to the authorities that Node brings. */
  readonly caFiles?: readonly string[];
  /** Mirrors, and how hosts are spoken to. Default: each registry at its own address. */
  readonly hosts?: RegistryHosts;
  /** Default: no proxy. */
  readonly proxyFor?: FindProxy;
  readonly userAgent?: string;
  readonly timeouts?: Partial<RegistryTimeouts>;
  /** What is known of hosts, and the connections: shared with other clients. Default: with all of this process. */
  readonly network?: Network;
  /** Retries and warnings. */
  readonly onEvent?: OnEvent;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
}

export interface BrokerOptions extends RequestOptions {
  /** Its connections count, and wait until there may be one more. Whoever asks for this disposes of the broker. */
  readonly counted?: boolean;
}

export interface PlaceOptions extends RequestOptions {
  /** No mirror is asked: whether a login reaches the image is for the registry alone to say. */
  readonly atRegistry?: boolean;
}

interface ManifestRequest extends PlaceOptions {
  /** What the image was asked for with, which decides where. */
  readonly reference: Reference;
  /** The manifest's own name. */
  readonly wanted: Reference;
  readonly doing: string;
  readonly method: 'GET' | 'HEAD';
}

/** Verified, and well-formed. */
export interface FetchedDocument {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** What a reference resolved to. */
export interface ResolvedManifest<M = Manifest> {
  readonly digest: Digest;
  readonly mediaType: string;
  /** What `digest` is of: as received, but for the signatures of schema 1. */
  readonly bytes: Uint8Array;
  readonly manifest: M;
}

export const DEFAULT_TIMEOUTS: RegistryTimeouts = {
  connectMs: 15_000,
  stallMs: 30_000,
  backoffMs: 500,
  lowSpeedBytes: 1024,
  lowSpeedMs: 30_000,
};

export class RegistryClient {
  readonly #options: RegistryOptions;
  readonly #hosts = new Map<string, RegistryHost>();
  readonly #opening = new SingleFlight<string, RegistryHost>();

  constructor(options: RegistryOptions = {}) {
    this.#options = options;
  }

  /**
   * One GET of the manifest, by digest where the reference has one, else by tag. Rejects with LARDER_REGISTRY_*,
   * LARDER_IMAGE_NOT_FOUND, LARDER_DIGEST_MISMATCH, LARDER_MANIFEST_INVALID, LARDER_MEDIA_TYPE_UNSUPPORTED,
   * LARDER_TIMEOUT, LARDER_ABORTED.
   */
  async resolve(
    reference: Reference,
    options: PlaceOptions = {},
  ): Promise<ResolvedManifest<Manifest | Schema1Manifest>> {
    const doing = `fetch the manifest: ${formatReference(reference)}`;
    return this.#manifest(
      { reference, wanted: reference, doing, method: 'GET', ...options },
      ({ answer, bytes: received }) => {
        const contentType = answer.header('content-type');
        // The digest of schema 1 is that of a part of it, so that part is looked for first.
        const old = isSchema1(received, contentType) ? parseSchema1(received, doing) : undefined;
        const bytes = old?.payload ?? received;
        if (reference.digest !== undefined) verifyDigest(reference.digest, bytes, doing);
        const manifest = old ?? parseManifest(bytes, contentType, doing);
        return { digest: reference.digest ?? digestOf(bytes), mediaType: manifest.mediaType, bytes, manifest };
      },
    );
  }

  /** One HEAD: how long the registry says that a blob is, in bytes. Not verified. Rejects as {@link fetchSmallBlob}. */
  async blobSize(reference: Reference, digest: Digest, options: PlaceOptions = {}): Promise<number> {
    const { doing } = blobTarget(reference, digest);
    const { signal, atRegistry } = options;
    using slot = this.#network.connections.slot('small');
    const plan = await this.#blobPlan(reference, digest, slot, signal, atRegistry);
    const request = { method: 'HEAD', maxBytes: 0, tooLong: 'LARDER_SIZE_MISMATCH', doing, signal } as const;
    return await getFirstGood(plan, request, ({ answer }) => {
      const length = answer.header('content-length') ?? '';
      if (/^[1-9]\d{0,14}$/.test(length)) return Number(length);
      throw new LarderError('LARDER_SIZE_MISMATCH', `${doing}: the registry does not say how long it is`);
    });
  }

  /** The last `count` of a blob's `size` bytes; undefined where one small answer does not bring them. Not verified. Rejects with LARDER_ABORTED, and as {@link hostsOf}. */
  async blobEnd(
    reference: Reference,
    { digest, size }: { readonly digest: Digest; readonly size: number },
    count: number,
    { signal }: RequestOptions = {},
  ): Promise<Uint8Array | undefined> {
    const { doing } = blobTarget(reference, digest);
    using slot = this.#network.connections.slot('small');
    return await readBlobEnd(await this.#blobPlan(reference, digest, slot, signal), { doing, size, count }, signal);
  }

  /** One HEAD: what the registry says that the reference is now; undefined where it does not say. Not verified. */
  async head(reference: Reference, options: PlaceOptions = {}): Promise<Digest | undefined> {
    const doing = `ask for the digest: ${formatReference(reference)}`;
    return this.#manifest({ reference, wanted: reference, doing, method: 'HEAD', ...options }, ({ answer }) => {
      const digest = answer.header('docker-content-digest') ?? '';
      return isDigest(digest) ? digest : undefined;
    });
  }

  /**
   * A manifest or image index as it is, of an image or not, for who hands it on. Rejects as {@link resolve}; schema 1 is
   * LARDER_MEDIA_TYPE_UNSUPPORTED.
   */
  async fetchDocument(reference: Reference, options: PlaceOptions = {}): Promise<FetchedDocument> {
    const doing = `fetch the manifest: ${formatReference(reference)}`;
    return this.#manifest({ reference, wanted: reference, doing, method: 'GET', ...options }, ({ answer, bytes }) => {
      if (reference.digest !== undefined) verifyDigest(reference.digest, bytes, doing);
      const { mediaType } = parseLinks(bytes, answer.header('content-type'), doing);
      return { digest: reference.digest ?? digestOf(bytes), mediaType, bytes };
    });
  }

  /** A manifest that an image index of the same repository names. Rejects as {@link resolve}, and with LARDER_SIZE_MISMATCH. */
  async fetchManifest(
    reference: Reference,
    descriptor: Descriptor,
    options: RequestOptions = {},
  ): Promise<ResolvedManifest> {
    const wanted = withDigest(reference, descriptor.digest);
    const doing = `fetch the manifest: ${formatReference(wanted)}`;
    return this.#manifest({ reference, wanted, doing, method: 'GET', ...options }, ({ bytes }) => {
      verifyBytes(descriptor, bytes, doing);
      // The descriptor is under the index's digest; what the registry calls the bytes now is not.
      const manifest = parseManifest(bytes, descriptor.mediaType, doing);
      return { digest: descriptor.digest, mediaType: manifest.mediaType, bytes, manifest };
    });
  }

  /** A config: at most 4 MiB. Rejects with LARDER_REGISTRY_*, LARDER_BLOB_NOT_FOUND, LARDER_SIZE_MISMATCH, LARDER_DIGEST_MISMATCH, LARDER_CONFIG_INVALID when it is larger. */
  async fetchSmallBlob(
    reference: Reference,
    descriptor: Descriptor,
    options: RequestOptions = {},
  ): Promise<Uint8Array> {
    const { doing } = blobTarget(reference, descriptor.digest);
    if (descriptor.size > MAX_CONFIG_BYTES) {
      throw new LarderError(
        'LARDER_CONFIG_INVALID',
        `${doing}: ${descriptor.size} bytes are more than the limit of ${MAX_CONFIG_BYTES}`,
      );
    }
    using slot = this.#network.connections.slot('small');
    const plan = await this.#blobPlan(reference, descriptor.digest, slot, options.signal);
    const request = { maxBytes: descriptor.size, tooLong: 'LARDER_SIZE_MISMATCH', doing, ...options } as const;
    return await getFirstGood(plan, request, ({ bytes }) => {
      verifyBytes(descriptor, bytes, doing);
      return bytes;
    });
  }

  /** Who may be asked for what a digest of the repository names, best first, each once: `host[:port]`. Asks nobody. */
  async hostsOf(reference: Reference): Promise<readonly string[]> {
    const { hosts = DIRECT } = this.#options;
    const serving = (await hosts.endpointsOf(reference)).filter(({ serves }) => serves);
    return [...new Set(serving.map(({ server }) => server.host))];
  }

  /** Grants for the blobs of the reference's repository, with this client's tokens; the signal ends them all. */
  broker(reference: Reference, { signal, counted = false }: BrokerOptions = {}): BlobBroker {
    return new BlobBroker({
      reference,
      planFor: (digest, slot) => this.#blobPlan(reference, digest, slot, signal),
      connections: counted ? this.#network.connections : undefined,
      signal,
    });
  }

  get #network(): Network {
    return this.#options.network ?? PROCESS_NETWORK;
  }

  async #blobPlan(
    reference: Reference,
    digest: Digest,
    slot: Slot | undefined,
    signal: AbortSignal | undefined,
    atRegistry = false,
  ): Promise<MirrorPlan> {
    const { doing } = blobTarget(reference, digest);
    const mayServe = ({ serves, isMirror }: Endpoint): boolean => serves && !(isMirror && atRegistry);
    return this.#plan(reference, mayServe, (at) => blobTarget(reference, digest, at), doing, { slot, signal });
  }

  async #manifest<T>(
    { reference, wanted, doing, method, signal, atRegistry }: ManifestRequest,
    read: (answer: WholeAnswer) => T,
  ): Promise<T> {
    const may = ({ resolves, serves, isMirror }: Endpoint): boolean =>
      (wanted.digest === undefined ? resolves : serves) && !(isMirror && atRegistry === true);
    const targetAt = (at: Endpoint): RegistryTarget => ({
      kind: 'registry',
      doing,
      path: pathAt(at, `manifests/${wanted.digest ?? wanted.tag ?? 'latest'}`),
      scope: pullScope(at),
      accept: ACCEPTED_MANIFESTS.join(', '),
      notFound: 'LARDER_IMAGE_NOT_FOUND',
    });
    using slot = this.#network.connections.slot('small');
    const plan = await this.#plan(reference, may, targetAt, doing, { slot, signal });
    const request = {
      method,
      maxBytes: MAX_MANIFEST_BYTES,
      tooLong: 'LARDER_MANIFEST_INVALID',
      doing,
      signal,
    } as const;
    return await getFirstGood(plan, request, (whole) => {
      tellRateLimit(whole.answer, doing, this.#options.onEvent);
      return read(whole);
    });
  }

  async #plan(
    reference: Reference,
    may: (endpoint: Endpoint) => boolean,
    targetAt: (endpoint: Endpoint) => RegistryTarget,
    doing: string,
    { slot, signal }: { readonly slot: Slot | undefined; readonly signal: AbortSignal | undefined },
  ): Promise<MirrorPlan> {
    expectManyListeners(signal);
    const { hosts = DIRECT, onEvent } = this.#options;
    const endpoints = (await hosts.endpointsOf(reference)).filter(may);
    const open = ({ server }: Endpoint, during: AbortSignal | undefined) => this.#host(server, during);
    return new MirrorPlan({ doing, endpoints, open, targetAt, health: this.#network.health, slot, onEvent });
  }

  async #host(server: Server, signal: AbortSignal | undefined): Promise<RegistryHost> {
    expectManyListeners(signal);
    const key = JSON.stringify(server);
    const known = this.#hosts.get(key);
    if (known !== undefined) return known;
    const options = signal === undefined ? {} : { signal };
    return this.#opening.run(key, (shared) => this.#open(server, key, shared.signal), options);
  }

  async #open(server: Server, key: string, signal: AbortSignal): Promise<RegistryHost> {
    const { credentials, insecureRegistries, tokenHosts, proxyFor, userAgent, onEvent } = this.#options;
    const timeouts = { ...DEFAULT_TIMEOUTS, ...this.#options.timeouts };
    const settings = {
      credentials: credentials ?? NO_CREDENTIALS,
      insecure: new Set((insecureRegistries ?? []).map((host) => host.toLowerCase())),
      tokenHosts: tokenHosts ?? {},
      ca: await readCertificates(this.#options.caFiles ?? []),
      proxyFor,
      userAgent: userAgent ?? 'larder',
      connectTimeoutMs: timeouts.connectMs,
      stallTimeoutMs: timeouts.stallMs,
      lowSpeed: { bytesPerSecond: timeouts.lowSpeedBytes, overMs: timeouts.lowSpeedMs },
      backoffMs: timeouts.backoffMs,
      network: this.#network,
      onEvent,
    };
    const host = await openHost(server, settings, signal);
    this.#hosts.set(key, host);
    return host;
  }
}

/** What the first host gives that `read` takes; what it throws ends nothing while another can be asked. */
async function getFirstGood<T>(
  plan: MirrorPlan,
  options: GetWholeOptions,
  read: (answer: WholeAnswer) => T,
): Promise<T> {
  for (;;) {
    try {
      return read(await getWhole(plan, options));
    } catch (error) {
      if (!plan.passOver(error)) throw error;
    }
  }
}
