/**
 * ▸ Where images come from. A puller says what a reference is (`resolve`) and where each layer's bytes are
 * (`layerSource`); it writes nothing. The store verifies, writes and records.
 */
import type { OnEvent, OperationOptions } from '../events.js';
import type { ImageLayer } from '../metadata/records.js';
import type { AskGrant } from '../registry/blob.js';
import type { Digest } from '../spec/digest.js';
import type { ImageConfig } from '../spec/image-config.js';
import type { Reference } from '../spec/reference.js';

/** Bytes as received, verified against their digest. */
export interface FetchedDocument {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

/** An image as its source describes it: every document verified, no layer fetched. */
export interface ResolvedImage {
  /** What the reference resolved to: an image index or the manifest. */
  readonly digest: Digest;
  /** Index (when there is one, outermost first), manifest, config. */
  readonly documents: readonly FetchedDocument[];
  readonly manifest: Digest;
  readonly config: Digest;
  readonly imageConfig: ImageConfig;
  /** `linux/amd64` */
  readonly platform: string;
  /** As the manifest lists them, base first; may repeat. */
  readonly layers: readonly ImageLayer[];
}

export interface PullOptions extends OperationOptions {
  /** Canonical `os/arch[/variant]`. */
  readonly platform: string;
}

export interface Puller {
  /** Until it is disposed, `onEvent` hears what happens to this puller's requests: retries and warnings. */
  listen(onEvent: OnEvent): Disposable;

  /** Rejects with LARDER_IMAGE_NOT_FOUND, LARDER_PLATFORM_NOT_FOUND, LARDER_MANIFEST_INVALID, LARDER_REGISTRY_*, … */
  resolve(reference: Reference, options: PullOptions): Promise<ResolvedImage>;

  /** Where a layer's bytes are. Pure: nothing is asked or opened yet. */
  layerOrigin(reference: Reference, layer: ImageLayer, options: PullOptions): LayerOrigin;
}

export type LayerOrigin =
  /** A worker thread fetches them and asks for leave to make each request. */
  | { readonly kind: 'registry'; readonly ask: AskGrant }
  /** They are a part of a file on this machine. */
  | { readonly kind: 'file'; readonly path: string; readonly offset: number };
