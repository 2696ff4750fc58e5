/** The conformance suite must notice each broken promise, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetadataManager } from '../../src/metadata/metadata-manager.js';
import { blobsOf } from '../../src/metadata/records.js';
import {
  type Metadata,
  type MetadataFixture,
  metadataManagerConformance,
} from '../../src/testing/conformance/metadata-manager.js';
import { metadataFixture } from './fixture.js';
import { failuresOf } from './run-suite.js';

const mutants: Record<string, (real: MetadataManager) => Partial<Metadata>> = {
  'ignores cached: false': (real) => ({ get: (reference, _cached, platform) => real.get(reference, true, platform) }),
  'ignores the platform': (real) => ({
    get: (reference, cached) =>
      cached ? [...real.list()].find((record) => record.reference === reference) : undefined,
  }),
  'matches references loosely': (real) => ({
    get: (reference, cached, platform) =>
      real.get(reference, cached, platform) ?? real.get(reference.toLowerCase(), cached, platform),
  }),
  'answers layers in the order of their names': (real) => ({
    get: (reference, cached, platform) => {
      const record = real.get(reference, cached, platform);
      return record && { ...record, layers: [...record.layers].sort((a, b) => (a.diffId < b.diffId ? -1 : 1)) };
    },
  }),
  'keeps the first record': (real) => ({
    put: async (record) => real.get(record.reference, true, record.platform) ?? real.put(record),
  }),
  'drops repeated layers silently': (real) => ({
    put: async (record) => {
      const layers = record.layers.filter(
        (layer, i) => record.layers.findIndex((l) => l.diffId === layer.diffId) === i,
      );
      return real.put({ ...record, layers });
    },
  }),
  'keeps records in memory only': (real) => {
    const memory = new Map<string, Parameters<Metadata['put']>[0]>();
    return {
      put: async (record) => {
        memory.set(`${record.reference} ${record.platform}`, record);
        return record;
      },
      get: (reference, cached, platform) =>
        (cached ? memory.get(`${reference} ${platform}`) : undefined) ?? real.get(reference, cached, platform),
    };
  },
  'does not look at layers in recover': (real) => ({
    recover: (presence) =>
      real.recover({
        ...presence,
        layers: async () => {
          await presence.layers();
          return new Set([...real.list()].flatMap(({ layers }) => layers.map(({ diffId }) => diffId)));
        },
      }),
  }),
  'does not look at blobs in recover': (real) => ({
    recover: (presence) =>
      real.recover({ ...presence, blobs: async () => new Set([...real.list()].flatMap((record) => blobsOf(record))) }),
  }),
  'drops without a report': (real) => ({
    recover: async (presence) => {
      await real.recover(presence);
      return [];
    },
  }),
  'reports without dropping': (real) => ({
    recover: async (presence) => {
      const before = [...real.list()];
      const dropped = await real.recover(presence);
      for (const record of before)
        if (real.get(record.reference, true, record.platform) === undefined) await real.put(record);
      return dropped;
    },
  }),
  'prunes nothing': (real) => ({ prune: () => real.prune([...real.list()]) }),
  'prunes everything': (real) => ({ prune: () => real.prune([]) }),
  'prunes all platforms but the excluded name only': (real) => ({
    prune: (excluded) => real.prune([...excluded].map(({ reference }) => ({ reference }))),
  }),
  'forgets the configs in what prune answers': (real) => ({
    prune: async (excluded) => ({ ...(await real.prune(excluded)), blobs: new Set() }),
  }),
  'removes one platform only': (real) => ({
    remove: (reference, platform) => real.remove(reference, platform ?? 'linux/amd64'),
  }),
  'does not note uses': () => ({ touch: async () => {} }),
  'lists in another order': (real) => ({ list: () => [...real.list()].reverse().values() }),
};

async function brokenFixture(changes: (real: MetadataManager) => Partial<Metadata>): Promise<MetadataFixture> {
  const wrap = (real: MetadataManager): Metadata => ({
    recover: (presence) => real.recover(presence),
    put: (record) => real.put(record),
    get: (reference, cached, platform) => real.get(reference, cached, platform),
    prune: (excluded) => real.prune(excluded),
    list: () => real.list(),
    remove: (reference, platform) => real.remove(reference, platform),
    touch: (image, atMs) => real.touch(image, atMs),
    ...changes(real),
  });
  // Processes take long and are not what these mutants break.
  const { putInProcess: _put, putUntilKilled: _kill, ...fixture } = await metadataFixture(wrap);
  return fixture;
}

const failing = (changes: (real: MetadataManager) => Partial<Metadata>): Promise<string[]> =>
  failuresOf((register) =>
    metadataManagerConformance(
      'mutant',
      () => brokenFixture(changes),
      (name, options, body) => {
        if (!name.includes('10,000')) register(name, options, body);
      },
    ),
  );

test('the suite finds nothing wrong with the real manager', async () => {
  assert.deepEqual(await failing(() => ({})), []);
});

for (const [name, changes] of Object.entries(mutants)) {
  test(`the suite refuses a manager that ${name}`, async () => {
    assert.ok((await failing(changes)).length > 0);
  });
}
