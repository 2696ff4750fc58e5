/**
 * What is in an image, without root, without a mount and without unpacking anything:
 *
 *     node dist/examples/read-without-mounting.js docker.io/library/debian:12 ~/.local/share/larder
 */
import { createHash } from 'node:crypto';
import { openLarder } from '../src/index.js';

const SHOWN = 3;

const [reference, root] = process.argv.slice(2);
if (reference === undefined || root === undefined) throw new Error('usage: read-without-mounting REFERENCE STORE');

await using larder = await openLarder({ root });
await using image = await larder.pull(reference);

// A symlink is followed inside the image, wherever it points.
const release = await image.fs.readFile('/etc/os-release');
console.log(release.toString().trim());

let files = 0;
let largest: { readonly path: string; readonly size: number }[] = [];
for await (const { path, stat } of image.fs.walk('/')) {
  if (stat.type !== 'file') continue;
  files++;
  // Names are bytes, and need not be text.
  largest = [...largest, { path: path.toString(), size: stat.size }].sort((a, b) => b.size - a.size).slice(0, SHOWN);
}
console.log(`${files} files, the largest:`);
for (const { path, size } of largest) {
  const hash = createHash('sha256');
  for await (const piece of image.fs.readStream(path)) hash.update(piece);
  console.log(`${String(size).padStart(12)}  ${hash.digest('hex').slice(0, 16)}  ${path}`);
}
