import { createHash } from 'node:crypto';
import { setImmediate as breathe } from 'node:timers/promises';
import { writeErofs } from '../erofs/write-erofs.js';
import { LarderError, throwIfAborted } from '../errors.js';
import { decodeLayerIndex } from '../tree/layer-index.js';
import { mergeLayers } from '../tree/merge.js';
import { seenAs } from '../tree/seen-as.js';
import type { LayerIndex, MergedTree } from '../tree/types.js';
import type { TaskContext } from '../workers/protocol.js';
import { matchesRecord, readDerived } from './derived-file.js';
import { tagOf } from './device-table.js';
import type { MergeInput, MergeJob, MergeResult } from './layer-job.js';
import { NewFile } from './new-file.js';

/**
 * Bytes of all indexes of one image. Each layer has limits of its own, but an image may have 500, and all of them are
 * in memory while they are merged. A single layer at its limits stays below.
 */
const MAX_INDEX_BYTES = 2 ** 30;

/** The task `merge`. Rejects with LARDER_LAYER_CORRUPT when a derived file changed since it was checked. */
export async function mergeTask(data: unknown, { signal }: TaskContext): Promise<MergeResult> {
  const job = data as MergeJob;
  refuseTooMuch(job.layers);
  const indexes: LayerIndex[] = [];
  for (const input of job.layers) indexes.push(await readIndex(input));
  throwIfAborted(signal, 'merge layers');
  const tree = mergeLayers(indexes);
  if (job.outPath === undefined) return { sha256: '', size: 0, entries: tree.inodeCount, devices: [] };
  return writeImage(job, job.outPath, tree, signal);
}

export function refuseTooMuch(layers: readonly MergeInput[]): void {
  const bytes = layers.reduce((sum, { index }) => sum + index.size, 0);
  if (bytes <= MAX_INDEX_BYTES) return;
  throw new LarderError(
    'LARDER_LAYER_LIMIT',
    `merge layers: the indexes of ${layers.length} layers have ${bytes} bytes together, the limit is ${MAX_INDEX_BYTES}`,
  );
}

async function readIndex({ diffId, rootfs, index, extra }: MergeInput): Promise<LayerIndex> {
  const bytes = await readDerived(index.path, index.size, index.sha256);
  if (bytes === undefined) throw changed(diffId, 'its index');
  if (extra !== undefined && !(await matchesRecord(extra.path, extra.size, extra.sha256))) {
    throw changed(diffId, 'its extra file');
  }
  return seenAs(decodeLayerIndex(bytes), rootfs);
}

async function writeImage(job: MergeJob, path: string, tree: MergedTree, signal: AbortSignal): Promise<MergeResult> {
  const uuid = Buffer.from(job.mergedKey.slice(0, 32), 'hex');
  const image = writeErofs(tree, { uuid, tags: job.layers.map(({ diffId }) => tagOf(diffId)) });
  const hash = createHash('sha256');
  await NewFile.write(path, 'write merged image', 0o400, async (file) => {
    for (const piece of image.pieces()) {
      hash.update(piece);
      file.append(piece);
      await breathe();
      throwIfAborted(signal, 'write merged image');
    }
  });
  const sha256 = hash.digest('hex');
  return { sha256, size: image.byteLength, entries: tree.inodeCount, devices: image.devices };
}

function changed(diffId: string, what: string): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `merge layers: ${diffId}: ${what} is not what was recorded`);
}
