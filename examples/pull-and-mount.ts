/**
 * From a reference to a root filesystem and back:
 *
 *     node dist/examples/pull-and-mount.js docker.io/library/alpine:latest /var/lib/larder
 *
 * As root it is mounted; without root its files are copied, and what could not be kept is said.
 */
import { readdir } from 'node:fs/promises';
import { isLarderError, type LarderEvent, openLarder } from '../src/index.js';

const [reference, root] = process.argv.slice(2);
if (reference === undefined || root === undefined) throw new Error('usage: pull-and-mount REFERENCE STORE');

await using larder = await openLarder({ root });
await using image = await larder.pull(reference, { onEvent: tell });
console.log(`${image.reference}: ${image.record.layers.length} layers, runs ${JSON.stringify(image.runtime?.cmd)}`);

const { rootfs, backend, warnings } = await larder.provision(reference, { id: 'example' });
try {
  console.log(`${rootfs} (${backend}): ${(await readdir(rootfs)).sort().join(' ')}`);
  for (const warning of warnings) console.log(warning);
  await larder.provision(reference, { id: 'example' }).catch((error: unknown) => {
    if (!isLarderError(error, 'LARDER_CONTAINER_EXISTS')) throw error;
    console.log('a second container of this name is refused');
  });
} finally {
  await larder.destroy('example');
}

function tell(event: LarderEvent): void {
  if (event.type === 'layer-done') console.log(`layer ${event.layer}: ${event.entries} entries`);
  if (event.type === 'warning') console.log(event.message);
}
