/**
 * ▸ Where images come from. A puller says what a name is (`resolve`) and where each layer's bytes are (`layerOrigin`);
 * it writes nothing but, in staging, what it must uncompress to look into it. The store verifies, writes and records.
 */
import type { OnEvent, OperationOptions } from '../events.js';
import type { ImageLayer, ImageRecord } from '../metadata/records.js';
import type { AskGrant } from '../registry/blob.js';
import type { Credentials } from '../registry/credentials.js';
import type { Digest } from '../spec/digest.js';
import type { ImageConfig } from '../spec/image-config.js';
import type { ImageName } from '../spec/image-name.js';

/** Bytes as received, verified against their digest. */
export interface FetchedDocument {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

/** An image as its source describes it: every document verified, no layer fetched. */
export interface ImageFacts {
  /** What the name resolved to: an image index or the manifest. */
  readonly digest: Digest;
  /** Index (when there is one, outermost first), manifest, config, and the extra ones. */
  readonly documents: readonly FetchedDocument[];
  readonly manifest: Digest;
  readonly config: Digest;
  /** The v1 document of an image that came without a manifest of its own. */
  readonly v1?: Digest;
  readonly imageConfig: ImageConfig;
  /** `linux/amd64` */
  readonly platform: string;
  /** As the manifest lists them, base first; may repeat. */
  readonly layers: readonly ImageLayer[];
  /** The layers that their registry need not have, and where the manifest says that they are. */
  readonly foreign?: ReadonlyMap<Digest, readonly string[]>;
}

/** Who knows where the bytes of layers are. */
export interface LayerOrigins {
  /** Where the bytes of one of the layers are, until this is disposed. Pure: nothing is asked or opened yet. */
  layerOrigin(layer: Pick<ImageLayer, 'digest'>, options: OperationOptions): LayerOrigin;
  /** Where that is, for people, best first: `host[:port]`, or a path on this machine. Left out: nobody says. */
  readonly from?: readonly string[];
}

/** The facts, and a hold on the source while layers are fetched. */
export interface ResolvedImage extends ImageFacts, LayerOrigins, AsyncDisposable {}

/** An image whose source does not say what is in its layers (schema 1): with them, its config is made. */
export interface UnfinishedImage
  extends Pick<ImageFacts, 'digest' | 'documents' | 'manifest' | 'platform'>,
    LayerOrigins,
    AsyncDisposable {
  /** The layers as transferred, base first, each once. */
  readonly blobs: readonly Digest[];
  /** What the source says that a layer has, in bytes. Rejects as {@link Puller.resolve}, and with LARDER_BLOB_NOT_FOUND. */
  sizeOf(blob: Digest, options: OperationOptions): Promise<number>;
  /** The same layers give the same config. Rejects with LARDER_BLOB_NOT_FOUND unless `layers` has each of `blobs`. */
  finish(layers: ReadonlyMap<Digest, ImageLayer>): ImageFacts;
}

export type Resolution = ResolvedImage | UnfinishedImage;

export function isUnfinished(image: Resolution): image is UnfinishedImage {
  return 'finish' in image;
}

/** Who may log in where, for one image alone. */
export interface ImageCredentials extends Credentials {
  /** Equal for equal credentials; says nothing about them. */
  readonly id: string;
}

export interface PullOptions extends OperationOptions {
  /** Canonical `os/arch[/variant]`. */
  readonly platform: string;
  /** Instead of the default ones. No connection, token or login of theirs serves another pull. */
  readonly credentials?: ImageCredentials;
  /** Nothing is kept in the store of what is fetched. */
  readonly writesNothing?: true;
}

/** `N`: the names that it can resolve. */
export interface Puller<N> {
  /**
   * What the name leads to now, by the cheapest question there is. Nothing is verified: it only tells whether what is
   * here is what {@link resolve} would find. Undefined where only that can tell.
   */
  digestOf?(name: N, options: PullOptions): Promise<Digest | undefined>;

  /** Rejects with LARDER_IMAGE_NOT_FOUND, LARDER_PLATFORM_NOT_FOUND, LARDER_MANIFEST_INVALID, LARDER_REGISTRY_*, … */
  resolve(name: N, options: PullOptions): Promise<Resolution>;
}

/** A puller whose source can tell who may have what. */
export interface ProvingPuller<N> extends Puller<N> {
  /** Resolves when the login reaches the image, found out by one request. Rejects as {@link Puller.resolve}. */
  prove(name: N, options: PullOptions): Promise<void>;
}

/** The puller of all names, which stands before the others. What comes from no registry nobody can prove: LARDER_POLICY_DENIED. */
export interface ImagePuller extends ProvingPuller<ImageName> {
  /** Until it is disposed, `onEvent` hears what happens to its requests: retries and warnings. */
  listen(onEvent: OnEvent): Disposable;

  /**
   * Whether the image that is in the store may be answered without a pull. Asks nobody but this machine: an archive that
   * is there is looked into, and where it is gone what was pulled from it still stands; of a registry's image it is so.
   */
  isCurrent(name: ImageName, record: ImageRecord, options: PullOptions): Promise<boolean>;

  /**
   * Whether the image that is in the store is what a pull would bring now, as its source says. False where only the
   * pull can tell. Rejects as a pull does.
   */
  isFresh(name: ImageName, record: ImageRecord, options: PullOptions): Promise<boolean>;
}

export type LayerOrigin =
  /** A worker thread fetches them and asks for leave to make each request. */
  | {
      readonly kind: 'registry';
      readonly ask: AskGrant;
      /** What came was wrong: true when another host can be asked for it, by fetching it again. */
      readonly passOver?: (error: unknown) => boolean;
      /** Nothing is fetched any more. */
      readonly close?: () => void;
      /** The last `count` of `size` bytes, for an estimate; undefined where they are not to be had easily. Not verified. */
      readonly end?: (size: number, count: number) => Promise<Uint8Array | undefined>;
    }
  /** They are a part of a file on this machine. */
  | { readonly kind: 'file'; readonly path: string; readonly offset: number };
