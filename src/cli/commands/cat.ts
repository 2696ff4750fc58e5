import { type Command, platformOption } from '../command.js';

/** `larder cat REF PATH`: the file's bytes on standard output; with `--json` in base64. */
export const cat: Command = async ({ larder, onEvent, signal, quiet }, [reference = '', path = ''], options) => {
  const store = await larder();
  const image = await store.pull(reference, { onEvent, signal, ...platformOption(options) });
  try {
    if (options['json'] === true) {
      const content = await image.fs.readFile(path, { signal });
      await image[Symbol.asyncDispose]();
      return { data: { path, size: content.length, base64: content.toString('base64') } };
    }
    quiet();
    return { bytes: stream(image.fs.readStream(path, { signal }), () => image[Symbol.asyncDispose]()) };
  } catch (error) {
    await image[Symbol.asyncDispose]();
    throw error;
  }
};

async function* stream(
  bytes: AsyncIterable<Uint8Array>,
  done: () => Promise<void>,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* bytes;
  } finally {
    await done();
  }
}
