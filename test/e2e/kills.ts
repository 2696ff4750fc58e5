/** A pull that is killed again and again at random moments, and started again each time. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type BuiltImage, buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { CHECKOUT } from '../checkout.js';
import { startNode } from '../helpers/child.js';
import { TestStore } from './larder.js';
import { PacedRegistry } from './paced-registry.js';

export interface KillsOptions {
  readonly kills: number;
  readonly layers: number;
  readonly layerBytes: number;
  readonly pauseMs: number;
  readonly seed: number;
  readonly directory?: string;
  readonly onKill?: (line: string) => void;
}

export interface KillsResult {
  /** Of the manifest, the config and all layers. */
  readonly imageBytes: number;
  /** Of all bodies, and read by a process: what still was in the kernel's buffers when one died nobody can have kept. */
  readonly receivedBytes: number;
  /** What was in those buffers, together. */
  readonly unreadBytes: number;
  /** Received bytes to those of the image. */
  readonly ratio: number;
  readonly kills: number;
  /** Requests for the layers. */
  readonly requests: number;
  readonly check: string;
}

/**
 * The moments are drawn over the bytes of the image, so that they are the same share of it on any machine; the process
 * dies up to 30 ms later, in the middle of whatever it does then.
 */
export async function pullWithKills(options: KillsOptions): Promise<KillsResult> {
  const random = randomOf(options.seed);
  await using registry = await PacedRegistry.start(options);
  const layers = Array.from({ length: options.layers }, (_, i) => ({
    tar: sampleLayer(`layer-${options.seed}-${i}`, options.layerBytes),
  }));
  const image = buildImage({ layers });
  const reference = registry.add('killed', image);
  const imageBytes = image.manifest.length + image.blobs.reduce((sum, blob) => sum + blob.length, 0);
  const moments = Array.from({ length: options.kills }, () => random() * imageBytes * 0.99).sort((a, b) => a - b);
  const store = new TestStore(options.directory);
  let [unreadBytes, kept] = [0, 0];
  try {
    for (const moment of moments) {
      const child = startNode(join(CHECKOUT, 'bin', 'larder.js'), ['--root', store.root, 'pull', reference], {
        env: { PATH: process.env['PATH'], HOME: store.directory },
      });
      const laterMs = random() * 30;
      registry.at(moment + unreadBytes, () =>
        setTimeout(() => {
          const thaw = registry.freeze();
          // Stopped, it reads no more: what it has not read is counted before it dies.
          child.kill('SIGSTOP');
          setTimeout(() => {
            kept = keptBytes(store, image);
            unreadBytes += registry.unread;
            child.kill();
            void child.ended.then(thaw);
          }, 5);
        }, laterMs),
      );
      const { status, stderr } = await child.ended;
      if (status !== 'SIGKILL') throw new Error(`not killed at ${Math.round(moment)} bytes: ${status}\n${stderr}`);
      options.onKill?.(
        `${Math.round(moment)} of ${imageBytes} bytes: ${registry.bytes - unreadBytes} received, ${kept} kept before it`,
      );
    }
    await store.ok('pull', reference);
    await store.ok('check', '--deep');
    const leftovers = store.list('ingest').concat(store.list('staging'));
    return {
      imageBytes,
      receivedBytes: registry.bytes - unreadBytes,
      unreadBytes,
      ratio: (registry.bytes - unreadBytes) / imageBytes,
      kills: options.kills,
      requests: image.layers.reduce((sum, { digest }) => sum + (registry.gets.get(digest) ?? 0), 0),
      check: leftovers.length === 0 ? 'clean' : leftovers.join(', '),
    };
  } finally {
    store.dispose();
  }
}

/** Bytes of layers, as transferred, that are in the store, of downloads under way too. */
function keptBytes(store: TestStore, { layers }: BuiltImage): number {
  const size = ({ digest, diffId, blob }: BuiltImage['layers'][number]): number => {
    if (store.list('layers', 'sha256', diffId.slice(7)).length > 0) return blob.length;
    const data = join(store.root, 'ingest', digest.replace(':', '-'), 'data');
    return statSync(data, { throwIfNoEntry: false })?.size ?? 0;
  };
  return layers.reduce((sum, layer) => sum + size(layer), 0);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
