/** What the store's suite needs of a store, and the words that its cases share. */
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Finding } from '../../check.js';
import { hexOf } from '../../spec/digest.js';
import type { Image } from '../../spec/image.js';
import type { PruneOptions, Store } from '../../store/store.js';
import type { BuiltImage } from '../image-builder.js';
import type { ImageSource } from '../image-source.js';

export interface StoreProcess {
  /** Its exit status, or the signal that ended it, and what it said on standard error. */
  readonly ended: Promise<{ readonly status: number | string; readonly stderr: string }>;
  kill(): void;
}

export interface StoreFixture {
  readonly store: Store;
  /** Where the store pulls from. */
  readonly source: ImageSource;
  /** What a caller asks for, by a name that {@link ImageSource.publish} was given; `tag` is a tag or `@digest`. */
  image(
    name: string,
    options?: { readonly cached?: boolean; readonly platform?: string; readonly tag?: string },
  ): Image;
  /** `Store.prune` as a provisioner calls it, alone, and the deletions after it. */
  prune(excluded: readonly Image[], active?: ReadonlySet<string>, options?: PruneOptions): Promise<void>;
  /** Another store over the same directory, as another program has it. */
  open(): Promise<Store>;
  /** Compressed bytes of broken-off and running downloads on disk. */
  partialBytes(): Promise<number>;
  /** `get` in a process of its own. */
  getInProcess?(image: Image): StoreProcess;
  /** Images that need other images: publishes one that has `tar` and needs the images of these names. */
  publishDependent?(name: string, needs: readonly string[], tar: Uint8Array): void;
  findings(): Promise<readonly Finding[]>;
  dispose(): Promise<void>;
}

export type StoreCase = (fixture: StoreFixture) => Promise<void>;

/** What images are prepared for: works everywhere, without privileges. */
export const BACKEND = 'copy';
/** Much longer than anything here takes, much shorter than any time-out of a request. */
const SOON_MS = 15_000;
const LETTING_GO_MS = 3000;

/** The layers of an image as the store must answer them, by their names on disk. */
export function layerNames(image: BuiltImage): string[] {
  return image.layers.map((layer) => hexOf(layer.diffId));
}

export async function getNames({ store }: Pick<StoreFixture, 'store'>, image: Image): Promise<string[]> {
  return (await store.get(image, BACKEND)).layers.map((path) => basename(path));
}

/** Rejects when the promise takes longer than anything here may. */
export async function soon<T>(promise: Promise<T>, what: string, ms = SOON_MS): Promise<T> {
  const late = new AbortController();
  const timeout = sleep(ms, undefined, { signal: late.signal }).then(
    () => assert.fail(`${what}: not settled after ${ms} ms`),
    () => assert.fail('unreachable: the race is over'),
  );
  timeout.catch(() => {});
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    late.abort();
  }
}

/** A promise that is awaited later, or not at all when the case fails before. */
export function later<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Waits until the condition holds. */
/**
 * Nothing is left once everything is pruned. What was cancelled settles before its thread has let go of what it worked
 * on, so a prune at that moment leaves that to the next one.
 */
export async function requirePrunedClean(
  prune: () => Promise<void>,
  findings: () => Promise<readonly Finding[]>,
): Promise<void> {
  const end = Date.now() + LETTING_GO_MS;
  do {
    await prune();
    if ((await findings()).length === 0) return;
    await sleep(50);
  } while (Date.now() < end);
  assert.deepEqual(await findings(), []);
}

export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + SOON_MS;
  while (!(await condition())) {
    if (Date.now() > end) assert.fail(`${what}: not after ${SOON_MS} ms`);
    await sleep(10);
  }
}
