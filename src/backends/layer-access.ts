/**
 * ▸ What backends must know of stored layers, and nothing more: the store side implements {@link LayerAccess}, backends
 * get it by their constructors. Answers are plain data, so that they can be handed to a worker thread.
 */
import type { OperationOptions } from '../events.js';
import type { DiffId } from '../spec/digest.js';
import type { LayerView, RootfsView } from '../spec/stack.js';

/** Where one layer's bytes are, with what its record says of them. */
export interface LayerFiles {
  readonly diffId: DiffId;
  readonly view: LayerView | undefined;
  /** What the view needs; undefined: the entries are read as OCI does. */
  readonly rootfs: RootfsView | undefined;
  readonly tar: string;
  /** Bytes, as recorded when the layer was adopted; what is found on disk is compared with it before each use. */
  readonly tarSize: number;
  /** `layer.extra`; undefined when the layer has none. */
  readonly extra: string | undefined;
  readonly extraSize: number;
  readonly index: string;
  /** Hex. */
  readonly indexSha256: string;
}

/** One image's EROFS metadata, and the data files it was written for. */
export interface MergedImage {
  /** The merged key: 64 hex digits; the image's UUID is the first 16 bytes of it. */
  readonly key: string;
  readonly path: string;
  /** Hex. */
  readonly sha256: string;
  readonly size: number;
  /** In the order of the image's device table. */
  readonly devices: readonly { readonly path: string; readonly size: number }[];
}

/** A layer as an overlay directory, as it is recorded. */
export interface ChainRecord {
  /** The hex of the ChainID (`chainIdsOf`): the directory's name. */
  readonly key: string;
  /** All layers that it was computed from, base first; the last is the one whose directory it is. */
  readonly layers: readonly DiffId[];
  /** Apparent bytes of its files; undefined when the directory was found in place, made earlier. */
  readonly size: number | undefined;
}

export interface LayerAccess {
  /**
   * Files of one layer, its derived ones made when they are missing.
   * Rejects with LARDER_LAYER_CORRUPT when the layer itself is missing or not what its record says.
   */
  layerFiles(layerPath: string, options?: OperationOptions): Promise<LayerFiles>;

  /** Pure: the key under which {@link mergedImage} files the image. */
  mergedKeyOf(layerPaths: readonly string[]): string;

  /** The EROFS image of these layers, base first; made when it is missing, or anyway with `rebuild`. */
  mergedImage(layerPaths: readonly string[], options?: MergedImageOptions): Promise<MergedImage>;

  /** Called when a chain's directory is in place and durable, before it is used; also when it is recorded already. */
  recordChain(record: ChainRecord): Promise<void>;

  /** Whether some container's claim names the merged key. */
  isUsed(mergedKey: string): boolean | Promise<boolean>;
}

export interface MergedImageOptions extends OperationOptions {
  /** The file is there but is not what was recorded: make it again from layers/ (I10). */
  readonly rebuild?: boolean;
}
