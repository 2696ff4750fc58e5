/**
 * ▸ Layers on disk without a store: what backends need of one, in the store's own layout, made from tars. For tests of
 * backends; slow and simple, without records, claims or garbage.
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type {
  ChainRecord,
  LayerAccess,
  LayerFiles,
  MergedImage,
  MergedImageOptions,
} from '../backends/layer-access.js';
import { writeErofs } from '../erofs/write-erofs.js';
import { LarderError } from '../errors.js';
import { Layout, parseLayerPath } from '../layout.js';
import { digestOf, parseDiffId } from '../spec/digest.js';
import { DEFAULT_LAYER_LIMITS } from '../tar/entry.js';
import { TarReader } from '../tar/reader.js';
import { type BuiltIndex, IndexBuilder } from '../tree/index-builder.js';
import { encodeLayerIndex } from '../tree/layer-index.js';
import { mergeLayers } from '../tree/merge.js';
import { mergedKeyOf } from '../tree/merged-key.js';
import type { LayerIndex, MergedTree } from '../tree/types.js';

interface StoredLayer extends LayerFiles {
  readonly tree: LayerIndex;
}

export class StoredLayers implements LayerAccess {
  readonly layout: Layout;
  /** The containers that claim each merged key; tests fill it. */
  readonly users = new Map<string, number>();
  /** What was recorded, in order. */
  readonly chains: ChainRecord[] = [];
  readonly #layers = new Map<string, StoredLayer>();
  readonly #images = new Map<string, MergedImage>();

  constructor(root: string) {
    this.layout = new Layout(root);
  }

  /** Stores a tar as a layer and answers the layer path. */
  add(tar: Uint8Array): string {
    const diffId = parseDiffId(digestOf(tar));
    const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
    const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
    reader.write(tar);
    reader.end();
    const built = builder.finish(tar.length);
    const encoded = encodeLayerIndex(built);
    write(this.layout.layerTar(diffId), tar);
    write(this.layout.layerIndex(diffId), encoded);
    const extra = built.index.extraSize === 0 ? undefined : this.layout.layerExtra(diffId);
    if (extra !== undefined) write(extra, extraOf(built, tar));
    const path = this.layout.layer(diffId);
    this.#layers.set(path, {
      diffId,
      view: undefined,
      rootfs: undefined,
      tar: this.layout.layerTar(diffId),
      tarSize: tar.length,
      extra,
      extraSize: built.index.extraSize,
      index: this.layout.layerIndex(diffId),
      indexSha256: sha256(encoded),
      tree: built.index,
    });
    return path;
  }

  /** The merged tree of layers, base first. */
  tree(layerPaths: readonly string[]): MergedTree {
    return mergeLayers(layerPaths.map((path) => this.#stored(path).tree));
  }

  async layerFiles(layerPath: string): Promise<LayerFiles> {
    const { tree: _, ...files } = this.#stored(layerPath);
    return files;
  }

  mergedKeyOf(layerPaths: readonly string[]): string {
    return mergedKeyOf(layerPaths.map(parseLayerPath));
  }

  async mergedImage(layerPaths: readonly string[], options: MergedImageOptions = {}): Promise<MergedImage> {
    const key = this.mergedKeyOf(layerPaths);
    const known = this.#images.get(key);
    if (known !== undefined && options.rebuild !== true) return known;
    const layers = layerPaths.map((path) => this.#stored(path));
    const image = writeErofs(this.tree(layerPaths), { uuid: Buffer.from(key.slice(0, 32), 'hex') });
    const bytes = Buffer.concat([...image.pieces()]);
    const path = this.layout.merged(key);
    write(path, bytes);
    const devices = image.devices.map(({ layer, source }) => deviceOf(layers[layer], source));
    const made = { key, path, sha256: sha256(bytes), size: bytes.length, devices };
    this.#images.set(key, made);
    return made;
  }

  async recordChain(record: ChainRecord): Promise<void> {
    this.chains.push(record);
  }

  isUsed(mergedKey: string): boolean {
    return (this.users.get(mergedKey) ?? 0) > 0;
  }

  /** SHA-256 of every file under layers/: layers never change (I11). */
  digests(): Readonly<Record<string, string>> {
    return Object.fromEntries([...this.#layers].map(([path, { tar }]) => [path, sha256(readFileSync(tar))]));
  }

  #stored(layerPath: string): StoredLayer {
    const layer = this.#layers.get(layerPath);
    if (layer === undefined) throw new LarderError('LARDER_LAYER_CORRUPT', `find layer ${layerPath}: it was not added`);
    return layer;
  }
}

function deviceOf(layer: StoredLayer | undefined, source: 'tar' | 'extra'): { path: string; size: number } {
  if (layer === undefined) throw new LarderError('LARDER_INTERNAL', 'image: a device of no layer');
  return source === 'tar'
    ? { path: layer.tar, size: layer.tarSize }
    : { path: layer.extra ?? '', size: layer.extraSize };
}

function extraOf({ index, extra }: BuiltIndex, tar: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(index.extraSize);
  for (const { entry, tarOffset, runs } of extra) {
    let position = tarOffset;
    for (const { offset, length } of runs) {
      bytes.set(tar.subarray(position, position + length), (index.offset[entry] ?? 0) + offset);
      position += length;
    }
  }
  return bytes;
}

function write(path: string, bytes: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { force: true });
  writeFileSync(path, bytes);
  chmodSync(path, 0o400);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
