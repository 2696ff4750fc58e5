import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import type { LayerWriterFixture } from '../../src/testing/conformance/layer-writer.js';
import { Lab, PLAIN } from './lab.js';

export async function createFixture(): Promise<LayerWriterFixture> {
  const lab = await Lab.open();
  return {
    async write(tar, limits = DEFAULT_LAYER_LIMITS) {
      await using staging = await lab.layers.stage();
      const path = join(lab.layout.root, 'source.tar');
      await writeFile(path, tar);
      const { ingestData: _, ...job } = lab.job(tar, PLAIN, join(staging.path, 'layer'), { limits });
      const result = await lab.write({ ...job, source: { kind: 'file', path, offset: 0 } });
      const written = {
        diffId: result.diffId,
        entries: result.entries,
        tar: await readFile(join(result.outDir, 'layer', 'layer.tar')),
        index: await readFile(result.index.path),
        extra: result.extra === undefined ? undefined : await readFile(result.extra.path),
      };
      await rm(path);
      return written;
    },
    leftovers: () => lab.leftovers(),
    dispose: () => lab[Symbol.asyncDispose](),
  };
}
