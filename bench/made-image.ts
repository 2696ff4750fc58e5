/** An image of any number of files, in a registry of this process: for what lab images are too few or too small. */
import { createCipheriv } from 'node:crypto';
import { ImageSource } from '../src/testing/image-source.js';
import { dir, file, tar } from '../src/testing/tar-builder.js';

const FILES_IN_A_DIRECTORY = 40;
const POOL_BYTES = 1 << 20;

/** Publishes it as `made`; the reference is `source.reference('made')`. Layers share the files evenly. */
export async function publishMadeImage(files: number, bytesEach: number, layers = 1): Promise<ImageSource> {
  const source = await ImageSource.start();
  const pool = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(POOL_BYTES));
  const tars = Array.from({ length: layers }, (_, layer) =>
    layerTar(layer, Math.ceil(files / layers), bytesEach, pool),
  );
  source.publish(
    'made',
    // As it is: what is measured is not inflate.
    tars.map((bytes) => ({ tar: bytes, compression: 'none' as const })),
  );
  return source;
}

function layerTar(layer: number, files: number, bytesEach: number, pool: Buffer): Buffer {
  const entries: Buffer[] = [];
  for (let i = 0; i < files; i++) {
    const directory = `layer-${layer}/module-${Math.floor(i / FILES_IN_A_DIRECTORY)}`;
    if (i % FILES_IN_A_DIRECTORY === 0) entries.push(dir(directory));
    // Sizes from half to one and a half times the mean.
    const size = Math.floor(bytesEach / 2 + ((i * 7919) % 1000) * (bytesEach / 1000));
    const start = (i * 4099) % Math.max(1, POOL_BYTES - size);
    entries.push(file(`${directory}/file-${i}`, pool.subarray(start, start + size)));
  }
  return tar(entries);
}
