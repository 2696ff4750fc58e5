/**
 * Keeps a store small while other processes use it: forgets every so often what no container uses, but for some images.
 *
 *     node dist/examples/prune-on-a-timer.js /var/lib/larder 3600 docker.io/library/debian:12
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isLarderError, openLarder } from '../src/index.js';

const [root, seconds, ...exclude] = process.argv.slice(2);
if (root === undefined || seconds === undefined) throw new Error('usage: prune-on-a-timer STORE SECONDS [KEEP…]');

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());

try {
  for (;;) {
    await pruneOnce(root);
    await sleep(Number(seconds) * 1000, undefined, { signal: stop.signal });
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
}

/** Opened anew each time: an open store holds a lock file, and this program sleeps most of the time. */
async function pruneOnce(store: string): Promise<void> {
  await using larder = await openLarder({ root: store });
  try {
    const { images, layers, bytes } = await larder.prune({ exclude, signal: stop.signal });
    console.log(`${images.length} images and ${layers.length} layers gone, ${bytes} bytes free`);
  } catch (error) {
    // The next round tries again; anything else is for whoever started this.
    if (!isLarderError(error, 'LARDER_STORE_LOCKED', 'LARDER_NO_SPACE')) throw error;
    console.log(error.message);
  }
}
