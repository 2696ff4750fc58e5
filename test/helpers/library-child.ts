/** `library-child ROOT REFERENCE read | provision BACKEND`: says in JSON what came of it. */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { type BackendName, isLarderError, openLarder } from '../../src/index.js';

const [root = '', reference = '', what = '', backend = ''] = process.argv.slice(2);
await using larder = await openLarder({ root });

console.log(JSON.stringify(what === 'read' ? await read() : await provision()));

async function read(): Promise<unknown> {
  await using image = await larder.pull(reference);
  if (larder.images().length !== 1) throw new Error('the image is not listed');
  const text = async (path: string): Promise<string> => (await image.fs.readFile(path)).toString();
  const koffi = await import('koffi').then(
    () => true,
    () => false,
  );
  return { release: await text('/etc/os-release'), zstd: await text('/zstd'), koffi };
}

async function provision(): Promise<unknown> {
  try {
    const { rootfs, warnings } = await larder.provision(reference, { id: 'c', backend: backend as BackendName });
    const owner = lstatSync(join(rootfs, 'owned')).uid;
    await larder.destroy('c');
    return { owner, warnings };
  } catch (error) {
    if (!isLarderError(error)) throw error;
    return { code: error.code, message: error.message, hint: error.hint };
  }
}
