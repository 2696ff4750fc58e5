import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { isLarderError, LarderError, systemError } from '../../errors.js';
import type { LayerResult } from '../../layers/layer-task.js';
import { MAX_APPC_MANIFEST_BYTES } from '../../spec/appc-manifest.js';
import { decodeLayerIndex } from '../../tree/layer-index.js';
import { aciFilesOf } from '../../tree/rootfs-view.js';
import type { LayerIndex } from '../../tree/types.js';

/**
 * The manifest of an ACI whose tar was just written, from the place that its index names. Rejects with
 * LARDER_LAYER_INVALID or LARDER_ENTRY_UNSUPPORTED when the tar is not laid out as an ACI.
 */
export async function readAciManifest(result: LayerResult, reference: string): Promise<Uint8Array> {
  const index = decodeLayerIndex(await readWhole(result.index.path, 0, result.index.size));
  const manifestEntry = manifestOf(index, reference);
  const size = index.size[manifestEntry] ?? 0;
  if (size > MAX_APPC_MANIFEST_BYTES || index.sparse(manifestEntry) !== undefined) {
    throw new LarderError('LARDER_LAYER_INVALID', `pull ${reference}: its manifest has ${size} bytes or is sparse`);
  }
  const inExtra = index.inExtra(manifestEntry);
  const path = inExtra ? (result.extra?.path ?? '') : join(result.outDir, 'layer', 'layer.tar');
  return readWhole(path, index.offset[manifestEntry] ?? 0, size);
}

/** The index does not know of which image it is. */
function manifestOf(index: LayerIndex, reference: string): number {
  try {
    return aciFilesOf(index).manifestEntry;
  } catch (error) {
    if (!isLarderError(error, 'LARDER_LAYER_INVALID', 'LARDER_ENTRY_UNSUPPORTED')) throw error;
    const { code, message, hint } = error;
    throw new LarderError(code, `pull ${reference}: ${message}`, hint === undefined ? {} : { hint });
  }
}

async function readWhole(path: string, offset: number, size: number): Promise<Buffer> {
  try {
    await using file = await open(path);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(size), 0, size, offset);
    if (bytesRead === size) return buffer;
    throw new LarderError('LARDER_INTERNAL', `read ${path}: ${bytesRead} of ${size} bytes`);
  } catch (error) {
    throw systemError(`read ${path}`, error);
  }
}
