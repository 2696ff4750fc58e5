/** `order-child ROOT REFERENCE LAYERS-AT-ONCE`: says in JSON what each backend makes of the image: a digest of the tree. */
import { openLarder } from '../../src/index.js';
import { treeDigest } from '../../src/testing/tree-digest.js';

const [root = '', reference = '', layersAtOnce = ''] = process.argv.slice(2);
await using larder = await openLarder({ root, max_parallel_layers: Number(layersAtOnce) });
const trees: Record<string, string> = {};
for (const backend of ['erofs', 'overlay', 'copy'] as const) {
  const { rootfs } = await larder.provision(reference, { id: backend, backend });
  trees[backend] = treeDigest(rootfs);
  await larder.destroy(backend);
}
console.log(JSON.stringify(trees));
