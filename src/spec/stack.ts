/**
 * A stack: the layers of one image, base first, each with the view under which its entries are read. What is derived
 * from a stack (merged images, overlay directories) is filed under keys that these functions make.
 */
import { LarderError } from '../errors.js';
import { type ChainId, type DiffId, type Digest, digestOf, parseDigest } from './digest.js';
import { parseJson } from './json.js';

/**
 * How the entries of a layer's tar are read. None: as OCI and Docker read them. `rootfs`: as an Appc image, whose root
 * is the tar's `rootfs/` and which knows no whiteouts. `rootfs@<hex>`: the same, and only the paths that the document
 * `sha256:<hex>` lists (Appc specification, `pathWhitelist`), which the image's record names among its documents.
 */
export type LayerView = ('rootfs' | `rootfs@${string}`) & { readonly __brand: 'layer-view' };

export interface StackLayer {
  readonly diffId: DiffId;
  readonly view?: LayerView;
}

/** A view with what it needs, as plain data for a worker thread. Undefined: as OCI does. */
export interface RootfsView {
  /** The whitelist's paths; undefined: everything. */
  readonly only?: readonly string[];
}

/** Answers the paths of a whitelist's document. */
export type ReadWhitelist = (document: Digest) => Promise<readonly string[]>;

export async function rootfsViewData(
  view: LayerView | undefined,
  readWhitelist: ReadWhitelist,
): Promise<RootfsView | undefined> {
  if (view === undefined) return undefined;
  const document = whitelistOf(view);
  return document === undefined ? {} : { only: await readWhitelist(document) };
}

const MAX_WHITELIST_BYTES = 64 * 2 ** 20;

/** The document that lists a whitelist's paths: the same bytes for the same set. */
export function formatWhitelist(paths: Iterable<string>): Uint8Array {
  return Buffer.from(JSON.stringify([...new Set(paths)].sort()));
}

/** Rejects with LARDER_MANIFEST_INVALID. */
export function parseWhitelist(bytes: Uint8Array): readonly string[] {
  const doing = 'read whitelist';
  const paths = parseJson(bytes, { doing, maxBytes: MAX_WHITELIST_BYTES, code: 'LARDER_MANIFEST_INVALID' });
  if (Array.isArray(paths) && paths.every((path) => typeof path === 'string')) return paths;
  throw new LarderError('LARDER_MANIFEST_INVALID', `${doing}: not a list of texts`);
}

const VIEW = /^rootfs(?:@[0-9a-f]{64})?$/;

/** Rejects with LARDER_DIGEST_INVALID. */
export function parseLayerView(text: string): LayerView {
  if (VIEW.test(text)) return text as LayerView;
  throw new LarderError('LARDER_DIGEST_INVALID', `layer view: ${JSON.stringify(text.slice(0, 100))}: not a view`);
}

/** The view of an Appc image's tar; with the document of its whitelist when it has one. */
export function rootfsViewOf(whitelist?: Digest): LayerView {
  return parseLayerView(whitelist === undefined ? 'rootfs' : `rootfs@${whitelist.slice('sha256:'.length)}`);
}

/** The document that says which paths the view shows; undefined: all of them. */
export function whitelistOf(view: LayerView | undefined): Digest | undefined {
  const hex = view?.split('@')[1];
  return hex === undefined ? undefined : parseDigest(`sha256:${hex}`);
}

export function stackLayer(diffId: DiffId, view: LayerView | undefined): StackLayer {
  return view === undefined ? { diffId } : { diffId, view };
}

/** One line: what a key says of a layer. */
export function stackLine({ diffId, view }: StackLayer): string {
  return view === undefined ? diffId : `${diffId} ${view}`;
}

/**
 * Of each layer, base first, the key of all layers up to it: without views the ChainID (OCI image-spec, config, "Layer
 * ChainID"); with views the same chain over {@link stackLine}.
 */
export function chainIdsOf(stack: readonly StackLayer[]): ChainId[] {
  let below: string | undefined;
  return stack.map((layer) => {
    const line = stackLine(layer);
    if (below !== undefined) below = digestOf(Buffer.from(`${below} ${line}`));
    else below = layer.view === undefined ? line : digestOf(Buffer.from(line));
    return below as ChainId;
  });
}
