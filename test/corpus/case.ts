/** ▸ What one case of the corpus is. Cases are data made by a program: the same bytes each time, for one {@link Scene}. */
import type { ErrorCode } from '../../src/errors.js';

/** Where the attacked files lie, and how an archive's names get to be below the root that its format has. */
export interface Scene {
  /** Absolute path of the victim's directory, beside the store. */
  readonly victim: string;
  /** Puts a name of the image into the archive: as it is for layers, below `rootfs/` for ACIs. */
  at(path: string): string;
}

/**
 * What must be at a path of the tree: `missing`, `dir`, `file TEXT`, `link TARGET`, `as PATH` (another name of that
 * file), `mode OCTAL`, `owner UID:GID`, `mtime SECONDS`, `xattr NAME=HEX`, `no NAME` (of an xattr), `char`, `block`, `fifo`.
 */
export type Fact = string;

export interface CaseBase {
  /** As in the plan of the corpus; several cases may have one. */
  readonly id: string;
  readonly what: string;
  /** Refused with this code, and nothing is left of it; undefined: it is legal. */
  readonly refused?: ErrorCode;
  /** Where another code refuses it: by whoever meets it first. */
  readonly by?: Readonly<Record<string, ErrorCode>>;
  /** Not in the short form. */
  readonly long?: true;
}

/** An image by its layers. */
export interface LayerCase extends CaseBase {
  /** Tars, base first. */
  layers(scene: Scene): readonly Uint8Array[];
  /** What is transferred instead of the last tar's own compressed bytes. */
  blob?(tar: Uint8Array): Blob;
  readonly tree?: Readonly<Record<string, Fact | readonly Fact[]>>;
  /** Why umoci, or containerd, makes something else of it; where nothing is said, they make the same. */
  readonly umoci?: string;
  readonly containerd?: string;
  /** It is about what ACIs do not have: layers, whiteouts, media types. */
  readonly noAci?: true;
}

export interface Blob {
  readonly bytes: Uint8Array;
  readonly compression: 'none' | 'gzip' | 'zstd';
}

/** A set of documents, as a registry or an OCI layout has them. */
export interface DocumentCase extends CaseBase {
  readonly image: () => Documents;
}

export interface Documents {
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  readonly blobs: readonly Uint8Array[];
  /** Served beside it under their digests: what an index names. */
  readonly manifests?: readonly { readonly manifest: Uint8Array; readonly mediaType: string }[];
}

/** A whole file: an archive, an ACI. */
export interface FileCase extends CaseBase {
  /** `docker-archive` and so on, or `appc`. */
  readonly transport: 'docker-archive' | 'oci-archive' | 'oci' | 'appc';
  /** For `oci` it is unpacked. */
  members(scene: Scene): readonly Uint8Array[];
}

/** A reference that leads nowhere. */
export interface ReferenceCase extends CaseBase {
  readonly reference: string;
}
