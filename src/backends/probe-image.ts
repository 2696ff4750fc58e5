/** Small EROFS images, written as those of images are, for finding out what the kernel does with one. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { writeErofs } from '../erofs/write-erofs.js';
import { DEFAULT_LAYER_LIMITS, ENTRY, makeEntry } from '../tar/entry.js';
import { IndexBuilder } from '../tree/index-builder.js';
import { mergeLayers } from '../tree/merge.js';

export interface ProbeFile {
  readonly name: string;
  readonly content: Uint8Array;
}

const BLOCK = 512;

/**
 * `image` in the directory, and `data`: a block of zeros, and the bytes of each file, padded to whole blocks. `dir/` is an
 * empty directory of the image.
 */
export function writeProbeImage(directory: string, files: readonly ProbeFile[]): void {
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  builder.entry(makeEntry({ type: ENTRY.directory, path: Buffer.from('dir'), mode: 0o755 }));
  const pieces: Uint8Array[] = [Buffer.alloc(BLOCK)];
  let offset = BLOCK;
  for (const { name, content } of files) {
    const { length } = content;
    builder.entry(makeEntry({ path: Buffer.from(name), mode: 0o644, size: length, stored: length, offset }));
    const padding = (BLOCK - (length % BLOCK)) % BLOCK;
    pieces.push(content, Buffer.alloc(padding));
    offset += length + padding;
  }
  writeFileSync(join(directory, 'data'), Buffer.concat(pieces), { mode: 0o600 });
  const tree = mergeLayers([builder.finish(offset).index]);
  const image = openSync(join(directory, 'image'), 'wx', 0o600);
  try {
    for (const piece of writeErofs(tree, { uuid: Buffer.from('larder probe   !') }).pieces()) writeSync(image, piece);
  } finally {
    closeSync(image);
  }
}
