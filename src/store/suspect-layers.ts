/**
 * What becomes of a layer whose bytes are in doubt: they are read, and where they are not what the layer's name says, it
 * loses its record (I2). From then on it counts as missing, and any pull of an image that has it fetches it again.
 */
import { lstatSync } from 'node:fs';
import { isLarderError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { Layout } from '../layout.js';
import type { StoreLock } from '../linux/store-lock.js';
import type { Layers } from '../metadata/layers.js';
import type { DiffId } from '../spec/digest.js';

export interface SuspicionParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly layers: LayerStore;
  readonly layerRecords: Layers;
}

/** `gone`: it is not in the store, and nothing wants it. */
export type Proof = 'whole' | 'broken' | 'gone';

interface ProveOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Reads those of the layers of which a check has said that their bytes are wrong, and believes what it reads now. */
export async function settleSuspicions(
  layers: readonly { readonly diffId: DiffId }[],
  parts: SuspicionParts,
  { signal, onEvent }: OperationOptions,
): Promise<void> {
  const suspects = new Set(parts.layerRecords.suspects());
  for (const { diffId } of layers) {
    if (!suspects.delete(diffId)) continue;
    const proof = await proveLayer(diffId, () => true, parts, { signal });
    if (proof === 'whole') await parts.layerRecords.setSuspect(diffId, false);
    if (proof === 'broken') onEvent?.({ type: 'warning', message: `layer ${diffId} is damaged: it is fetched again` });
  }
}

/**
 * Reads all of the layer. One that is broken has lost its record when this resolves; `isNamed` says whether anything
 * needs a layer of which there is neither a record nor a tar.
 */
export async function proveLayer(
  diffId: DiffId,
  isNamed: (diffId: DiffId) => boolean,
  parts: SuspicionParts,
  options: ProveOptions,
): Promise<Proof> {
  for (;;) {
    const proof = await proveOnce(diffId, isNamed, parts, options);
    if (proof !== 'replaced') return proof;
  }
}

/**
 * Alone in the store, what was read is asked for again: what another process has put in its place since is not to be
 * forgotten, and what a prune took is not broken.
 */
async function proveOnce(
  diffId: DiffId,
  isNamed: (diffId: DiffId) => boolean,
  { layout, lock, layers, layerRecords }: SuspicionParts,
  { signal }: ProveOptions,
): Promise<Proof | 'replaced'> {
  const seen = identityOf(layout.layerTar(diffId));
  if (await isWhole(layers, diffId, signal)) return 'whole';
  using _exclusive = await lock.exclusive(signal === undefined ? {} : { signal });
  if (identityOf(layout.layerTar(diffId)) !== seen) return 'replaced';
  if (seen === undefined && layerRecords.get(diffId) === undefined && !isNamed(diffId)) return 'gone';
  await layerRecords.delete(diffId);
  return 'broken';
}

function identityOf(path: string): string | undefined {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev} ${found.ino}`;
}

async function isWhole(layers: LayerStore, diffId: DiffId, signal: AbortSignal | undefined): Promise<boolean> {
  if (!(await layers.has(diffId))) return false;
  try {
    await layers.verify(diffId, signal === undefined ? {} : { signal });
    return true;
  } catch (error) {
    if (isLarderError(error, 'LARDER_LAYER_CORRUPT', 'LARDER_PATH_NOT_FOUND')) return false;
    throw error;
  }
}
