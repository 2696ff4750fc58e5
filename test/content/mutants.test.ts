/** The conformance suite must notice each broken promise, and nothing else. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { ContentManager, ContentStore } from '../../src/content/content-store.js';
import { digestOf } from '../../src/spec/digest.js';
import { type ContentStoreFixture, contentStoreConformance } from '../../src/testing/conformance/content-store.js';
import { failuresOf } from '../metadata/run-suite.js';
import { contentFixture } from './fixture.js';

/** The real store with some methods replaced. */
function broken(store: ContentStore, changes: Partial<ContentManager>): ContentManager {
  const real: ContentManager = {
    has: (digest) => store.has(digest),
    find: (digest) => store.find(digest),
    read: (digest) => store.read(digest),
    list: () => store.list(),
    put: (bytes, expected) => store.put(bytes, expected),
    remove: (digest) => store.remove(digest),
    openIngest: (digest, options) => store.openIngest(digest, options),
    listIngests: () => store.listIngests(),
    removeIngest: (digest) => store.removeIngest(digest),
  };
  return { ...real, ...changes };
}

const mutants: Record<string, (store: ContentStore) => Partial<ContentManager>> = {
  'reads without proving': (store) => ({
    read: async (digest) => readFileSync(store.pathOf(digest)),
  }),
  'finds without proving': (store) => ({
    find: async (digest) => ((await store.has(digest)) ? readFileSync(store.pathOf(digest)) : undefined),
  }),
  'stores bytes under an expected digest that is not theirs': (store) => ({
    put: async (bytes, expected) => {
      if (expected?.startsWith('sha256:')) writeFileSync(store.pathOf(expected), bytes);
      return store.put(bytes, expected);
    },
  }),
  'complains about a blob that is there': (store) => ({
    put: async (bytes, expected) => {
      if (await store.has(digestOf(bytes))) throw new Error('there already');
      return store.put(bytes, expected);
    },
  }),
  'trusts a damaged copy on put': (store) => ({
    put: async (bytes, expected) => {
      const digest = digestOf(bytes);
      return expected === undefined && (await store.has(digest)) ? digest : store.put(bytes, expected);
    },
  }),
  'has no limit': (store) => ({ put: async (bytes) => (bytes.length > 1e7 ? digestOf(bytes) : store.put(bytes)) }),
  'forgets sha512': (store) => ({ put: (bytes) => store.put(bytes) }),
  'reads absent blobs as empty': (store) => ({ read: async (digest) => (await store.find(digest)) ?? Buffer.alloc(0) }),
  'lists a blob twice': (store) => ({
    async *list() {
      yield* store.list();
      yield* store.list();
    },
  }),
  'does not remove': () => ({ remove: async () => true }),
  'drops the bytes of an ingest on dispose': (store) => ({
    openIngest: async (digest, options) => {
      const ingest = await store.openIngest(digest, options);
      ingest[Symbol.asyncDispose] = () => ingest.abort();
      return ingest;
    },
  }),
  'keeps the bytes of an ingest on abort': (store) => ({
    openIngest: async (digest, options) => {
      const ingest = await store.openIngest(digest, options);
      ingest.abort = () => ingest[Symbol.asyncDispose]();
      return ingest;
    },
  }),
  'does not keep blobs': (store) => ({
    openIngest: async (digest, options) => {
      const ingest = await store.openIngest(digest, options);
      const finish = ingest.finish.bind(ingest);
      ingest.finish = () => finish();
      return ingest;
    },
  }),
  'cannot be cancelled while it waits': (store) => ({
    openIngest: (digest, options) => {
      const { signal: _signal, ...rest } = options ?? {};
      const opened = store.openIngest(digest, rest);
      opened.catch(() => {}); // It may end after its directory is gone.
      return Promise.race([
        opened,
        new Promise<never>((_, reject) => setTimeout(() => reject(new Error('hangs')), 200)),
      ]);
    },
  }),
  'says nobody is busy': (store) => ({
    async *listIngests() {
      for await (const ingest of store.listIngests()) yield { ...ingest, busy: false };
    },
  }),
};

/** Processes take long and are not what these mutants break. */
async function withoutProcesses(
  changes: (store: ContentStore) => Partial<ContentManager>,
): Promise<ContentStoreFixture> {
  const {
    putInProcess: _put,
    ingestInProcess: _ingest,
    ...fixture
  } = await contentFixture((store) => broken(store, changes(store)));
  return fixture;
}

test('the suite finds nothing wrong with the real store', async () => {
  const failures = await failuresOf((register) =>
    contentStoreConformance('real', () => withoutProcesses(() => ({})), register),
  );
  assert.deepEqual(failures, []);
});

for (const [name, changes] of Object.entries(mutants)) {
  test(`the suite refuses a store that ${name}`, async () => {
    const failures = await failuresOf((register) =>
      contentStoreConformance(name, () => withoutProcesses(changes), register),
    );
    assert.ok(failures.length > 0);
  });
}
