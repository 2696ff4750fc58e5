import type { IncomingHttpHeaders } from 'node:http';
import type { Digest } from '../spec/digest.js';

export interface RegistryRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** How many requests for this path came before. */
  readonly nth: number;
}

/** What goes wrong with one answer. */
export type RegistryFault =
  | { readonly kind: 'reset' | 'short' | 'stall' | 'cut'; readonly after: number }
  | { readonly kind: 'wrong-bytes' }
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number }
  | { readonly kind: 'gzip' }
  | { readonly kind: 'hang' };

export type RegistryAuth =
  | { readonly type: 'basic'; readonly username: string; readonly password: string }
  | {
      readonly type: 'bearer';
      readonly username?: string;
      readonly password?: string;
      readonly expiresInSeconds?: number;
      readonly realm?: string;
    };

export interface FakeImage {
  /** Repository: `library/demo`. */
  readonly name: string;
  readonly tag?: string;
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  /** Config and layers; for an image index also the manifests, with {@link FakeRegistry.addManifest}. */
  readonly blobs: readonly Uint8Array[];
}

export interface FakeRegistryOptions {
  readonly host?: string;
  readonly port?: number;
  readonly images?: readonly FakeImage[];
  readonly auth?: RegistryAuth;
  /** PEM. */
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly fault?: (request: RegistryRequest) => RegistryFault | undefined;
}

/** A registry's pull API (OCI distribution-spec) in this process, over real sockets. */
export interface FakeRegistry extends AsyncDisposable {
  readonly url: string;
  /** `127.0.0.1:port`, for references. */
  readonly host: string;
  readonly requests: readonly RegistryRequest[];
  addImage(image: FakeImage): Digest;
  addManifest(name: string, tag: string | undefined, bytes: Uint8Array, mediaType: string): Digest;
  addBlob(name: string, bytes: Uint8Array): Digest;
  /** Replaces the fault hook. */
  setFault(fault: FakeRegistryOptions['fault']): void;
  close(): Promise<void>;
}

export async function startRegistry(_options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  throw new Error('not written yet');
}
