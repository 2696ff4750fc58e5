/** Layers that come at once, in any order, on any number of threads: the tree is the same. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ImageSource, type SourceFault } from '../../src/testing/image-source.js';
import { dir, file, hardlink, opaque, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { startNode } from '../helpers/child.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';

const CHILD = fileURLToPath(new URL('./order-child.js', import.meta.url));

/** Each undoes, hides or links what those below it made, so that two in the wrong order are another tree. */
const LAYERS = [
  tar([dir('.'), dir('a', { mode: 0o750 }), file('a/0', 'zero'), file('shared', 'from 0'), symlink('way', 'a')]),
  tar([file('a/1', 'one'), hardlink('a/linked', 'a/0'), file('shared', 'from 1')]),
  tar([whiteout('a/0'), file('way/2', 'two'), dir('b'), file('b/hidden', 'x')]),
  tar([dir('b'), opaque('b'), file('b/3', 'three'), file('shared', 'from 3')]),
  tar([whiteout('way'), dir('way'), file('way/4', 'four'), hardlink('b/shared', 'shared')]),
  tar([file('a/0', 'again'), whiteout('b/3'), dir('a', { mode: 0o701 })]),
  tar([symlink('b/3', '../shared'), file('shared', 'from 6')]),
  tar([dir('c'), file('c/7', Buffer.alloc(300_000, 'seven')), hardlink('c/linked', 'a/1')]),
] as const;
const COMPRESSIONS = ['gzip', 'zstd', 'none'] as const;

describe('what becomes of an image', { skip: needsRoot }, () => {
  let source: ImageSource;
  let digests: readonly string[];
  before(async () => {
    source = await ImageSource.start();
    const layers = LAYERS.map((bytes, i) => ({ tar: bytes, compression: COMPRESSIONS[i % 3] ?? 'gzip' }));
    digests = source.publish('image', layers).layers.map(({ digest }) => digest);
  });
  after(() => source[Symbol.asyncDispose]());

  const late =
    (msOf: (layer: number) => number): SourceFault =>
    ({ kind, wanted }) => {
      const layer = digests.indexOf(wanted);
      return kind === 'layer' && layer >= 0 ? { kind: 'delay', ms: msOf(layer) } : undefined;
    };

  test('does not depend on how many layers come at once, in which order, and on how many threads', async () => {
    const seen = new Set<string>();
    for (const { atOnce, pool, order } of [
      { atOnce: 1, pool: 1, order: () => 0 },
      { atOnce: 2, pool: 4, order: (layer: number) => (layer % 2) * 60 },
      { atOnce: 8, pool: 16, order: (layer: number) => (LAYERS.length - layer) * 30 },
    ]) {
      const directory = makeDirectory();
      try {
        source.setFault(late(order));
        const env = { ...process.env, UV_THREADPOOL_SIZE: String(pool) };
        const child = startNode(CHILD, [join(directory, 'store'), source.reference('image'), String(atOnce)], { env });
        const { status, stdout, stderr } = await child.ended;
        assert.equal(status, 0, stderr);
        for (const digest of Object.values(JSON.parse(stdout) as Record<string, string>)) seen.add(digest);
      } finally {
        removeDirectory(directory);
      }
    }
    assert.equal(seen.size, 1);
  });
});
