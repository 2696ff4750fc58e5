import type { OnEvent } from '../events.js';
import type { Descriptor } from '../spec/descriptor.js';
import type { Digest } from '../spec/digest.js';
import type { Manifest } from '../spec/manifest.js';
import type { Reference } from '../spec/reference.js';
import { type BlobBroker, notYet } from './blob-broker.js';
import type { Credentials } from './credentials.js';

export interface RegistryTimeouts {
  /** Until a connection stands, TLS included. */
  readonly connectMs: number;
  /** Without a byte while one is waited for. */
  readonly stallMs: number;
  /** First pause before a retry; doubles each time, half of it random. */
  readonly backoffMs: number;
}

export interface RegistryOptions {
  readonly credentials?: Credentials;
  /** `host[:port]` that may be spoken to over plain HTTP, or TLS that nobody vouches for. Loopback may always use plain HTTP. */
  readonly insecureRegistries?: readonly string[];
  /** Hosts (exact) beside its own domain to which a registry's credentials may go for tokens. */
  readonly tokenHosts?: Readonly<Record<string, readonly string[]>>;
  /** PEM files, trusted in addition to the system's. */
  readonly caFiles?: readonly string[];
  readonly userAgent?: string;
  readonly timeouts?: Partial<RegistryTimeouts>;
  /** Retries and warnings. */
  readonly onEvent?: OnEvent;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
}

/** What a reference resolved to, verified where the reference has a digest. */
export interface ResolvedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  /** As received: what `digest` is of. */
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

export class RegistryClient {
  /** GET of the manifest by digest, else by tag. Rejects with LARDER_REGISTRY_*, LARDER_IMAGE_NOT_FOUND, LARDER_DIGEST_MISMATCH, LARDER_MANIFEST_INVALID, LARDER_TIMEOUT, LARDER_ABORTED. */
  async resolve(_reference: Reference, _options: RequestOptions = {}): Promise<ResolvedManifest> {
    return notYet();
  }

  /** One HEAD: what the registry says that the tag is now. Undefined when it does not say. */
  async head(_reference: Reference, _options: RequestOptions = {}): Promise<Digest | undefined> {
    return notYet();
  }

  /** A manifest that an image index names, verified by size and digest. */
  async fetchManifest(
    _reference: Reference,
    _descriptor: Descriptor,
    _options: RequestOptions = {},
  ): Promise<ResolvedManifest> {
    return notYet();
  }

  /** A config: at most 4 MiB, verified by size and digest. */
  async fetchSmallBlob(
    _reference: Reference,
    _descriptor: Descriptor,
    _options: RequestOptions = {},
  ): Promise<Uint8Array> {
    return notYet();
  }

  /** Grants for the layers of one repository, with this client's tokens. */
  broker(_reference: Reference, _options: RequestOptions = {}): BlobBroker {
    return notYet();
  }

  /** Closes idle connections of this client. */
  close(): void {}
}

export function createRegistryClient(_options: RegistryOptions = {}): Promise<RegistryClient> {
  return Promise.resolve(new RegistryClient());
}
