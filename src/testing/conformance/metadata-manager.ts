/** ▸ What every metadata manager must keep. Cases use the seed's methods only; what a fixture leaves out is skipped. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetadataManager, Presence } from '../../metadata/metadata-manager.js';
import { blobsOf, type ImageLayer, type ImageRecord } from '../../metadata/records.js';
import { type DiffId, type Digest, digestOf, parseDiffId } from '../../spec/digest.js';
import type { ImageType } from '../../spec/image.js';
import type { Register } from './register.js';

/** The public face of the seed's class. */
export type Metadata = Pick<MetadataManager, 'recover' | 'put' | 'get' | 'prune' | 'list' | 'remove' | 'touch'>;

export interface MetadataFixture {
  readonly metadata: Metadata;
  /** Over the same records, without closing the first: another process's view, or a restart's. */
  open(type?: ImageType): Promise<Metadata>;
  /** Puts each record in a process of its own; resolves when that process has ended well. */
  putInProcess?(records: readonly ImageRecord[]): Promise<void>;
  /** Puts records in a process of its own until `kill` kills it with SIGKILL; answers the references it had acknowledged. */
  putUntilKilled?(): Promise<{ kill(): Promise<readonly string[]> }>;
  /** From now on nothing can be written, until the returned function is called. */
  fillDisk?(): Promise<() => Promise<void>>;
  dispose(): Promise<void>;
}

type Case = (fixture: MetadataFixture) => Promise<void>;

const PLATFORM = 'linux/amd64';

export function metadataManagerConformance(
  name: string,
  create: () => Promise<MetadataFixture>,
  register: Register = test,
): void {
  const cases = { ...recordCases, ...recoverCases, ...pruneCases, ...processCases, ...sizeCases };
  for (const [sentence, body] of Object.entries(cases)) {
    register(`${name}: ${sentence}`, {}, async () => {
      const fixture = await create();
      try {
        await body(fixture);
      } finally {
        await fixture.dispose();
      }
    });
  }
}

/** A record whose digests follow from its names, so that two records share what they share by name. */
export function sampleRecord(
  reference: string,
  layers: readonly string[],
  changes: Partial<ImageRecord> = {},
): ImageRecord {
  return {
    type: 'docker',
    reference,
    platform: PLATFORM,
    digest: sampleDigest(`index of ${reference}`),
    manifest: sampleDigest(`manifest of ${reference}`),
    config: sampleDigest(`config of ${reference}`),
    layers: layers.map(sampleLayer),
    createdAtMs: 1_700_000_000_000,
    lastUsedAtMs: 1_700_000_000_000,
    ...changes,
  };
}

export function sampleDigest(name: string): Digest {
  return digestOf(Buffer.from(name));
}

export function sampleDiffId(layer: string): DiffId {
  return parseDiffId(sampleDigest(`tar of ${layer}`));
}

function sampleLayer(name: string): ImageLayer {
  return {
    diffId: sampleDiffId(name),
    digest: sampleDigest(`gzip of ${name}`),
    size: 1000 + name.length,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  };
}

/** A disk that has everything that the records name, but for what is lost. */
function diskOf(metadata: Metadata, ...lost: readonly string[]): Presence {
  const without = <T extends string>(names: readonly T[]): ReadonlySet<T> =>
    new Set(names.filter((name) => !lost.includes(name)));
  const records = (): readonly ImageRecord[] => [...metadata.list()];
  return {
    layers: async () => without(records().flatMap(({ layers }) => layers.map(({ diffId }) => diffId))),
    blobs: async () => without(records().flatMap(blobsOf)),
  };
}

const recordCases: Record<string, Case> = {
  'a record that was put is answered whole, with its layers in order': async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/a:1', ['z', 'a', 'm', 'b']);
    assert.deepEqual(await metadata.put(record), record);
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
  },
  'an image without layers is an image': async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/scratch:1', []);
    await metadata.put(record);
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
  },
  'an unknown reference is undefined': async ({ metadata }) => {
    await metadata.put(sampleRecord('docker.io/library/a:1', ['a']));
    assert.equal(metadata.get('docker.io/library/a:2', true, PLATFORM), undefined);
    assert.equal(metadata.get('docker.io/library/a', true, PLATFORM), undefined);
    assert.equal(metadata.get('DOCKER.IO/LIBRARY/A:1', true, PLATFORM), undefined);
    assert.equal(metadata.get('docker.io/library/a:_', true, PLATFORM), undefined);
  },
  'cached: false answers undefined and forgets nothing': async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/a:1', ['a']);
    await metadata.put(record);
    assert.equal(metadata.get(record.reference, false, PLATFORM), undefined);
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
  },
  'one reference has a record for each platform': async ({ metadata }) => {
    const amd64 = sampleRecord('docker.io/library/a:1', ['a']);
    const arm64 = sampleRecord('docker.io/library/a:1', ['b'], { platform: 'linux/arm64' });
    await metadata.put(amd64);
    await metadata.put(arm64);
    assert.deepEqual(metadata.get(amd64.reference, true, PLATFORM), amd64);
    assert.deepEqual(metadata.get(amd64.reference, true, 'linux/arm64'), arm64);
    assert.equal(metadata.get(amd64.reference, true, 'linux/s390x'), undefined);
  },
  'putting again replaces the record and its layers': async ({ metadata }) => {
    await metadata.put(sampleRecord('docker.io/library/a:1', ['old', 'shared', 'older']));
    const record = sampleRecord('docker.io/library/a:1', ['new', 'shared'], { manifest: sampleDigest('moved') });
    await metadata.put(record);
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
    assert.equal([...metadata.list()].length, 1);
  },
  'a layer that is listed twice is refused, and the old answer stands': async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/a:1', ['a']);
    await metadata.put(record);
    const twice = sampleRecord('docker.io/library/a:1', ['a', 'b', 'a']);
    await assert.rejects(metadata.put(twice), { code: 'LARDER_INTERNAL' });
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
  },
  'records are there after a restart, and for others at once': async ({ metadata, open }) => {
    const other = await open();
    const record = sampleRecord('docker.io/library/a:1', ['a', 'b']);
    await metadata.put(record);
    assert.deepEqual(other.get(record.reference, true, PLATFORM), record);
    assert.deepEqual((await open()).get(record.reference, true, PLATFORM), record);
  },
  'the list has every record, by reference': async ({ metadata }) => {
    const records = ['b', 'c', 'a'].map((name) => sampleRecord(`docker.io/library/${name}:1`, ['base', name]));
    for (const record of records) await metadata.put(record);
    const [b, c, a] = records;
    assert.deepEqual([...metadata.list()], [a, b, c]);
  },
  'a removed image is unknown, on one platform or on all': async ({ metadata }) => {
    for (const platform of [PLATFORM, 'linux/arm64', 'linux/s390x']) {
      await metadata.put(sampleRecord('docker.io/library/a:1', ['a'], { platform }));
    }
    await metadata.put(sampleRecord('docker.io/library/b:1', ['a']));
    assert.equal(await metadata.remove('docker.io/library/a:1', 'linux/arm64'), 1);
    assert.equal(metadata.get('docker.io/library/a:1', true, 'linux/arm64'), undefined);
    assert.ok(metadata.get('docker.io/library/a:1', true, PLATFORM));
    assert.equal(await metadata.remove('docker.io/library/a:1'), 2);
    assert.equal(await metadata.remove('docker.io/library/a:1'), 0);
    assert.ok(metadata.get('docker.io/library/b:1', true, PLATFORM));
  },
  'touching notes a later use, and never an earlier one': async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/a:1', ['a']);
    await metadata.put(record);
    const lastUsed = (): number | undefined => metadata.get(record.reference, true, PLATFORM)?.lastUsedAtMs;
    await metadata.touch(record, record.lastUsedAtMs + 3_600_000);
    assert.equal(lastUsed(), record.lastUsedAtMs + 3_600_000);
    await metadata.touch(record, record.lastUsedAtMs);
    assert.equal(lastUsed(), record.lastUsedAtMs + 3_600_000);
    await metadata.touch({ reference: 'docker.io/library/unknown:1', platform: PLATFORM });
    assert.equal([...metadata.list()].length, 1);
  },
  'images of the other type are neither seen nor pruned': async ({ metadata, open }) => {
    const appc = await open('appc');
    const record = sampleRecord('example.com/app', ['a'], { type: 'appc' });
    await appc.put(record);
    await assert.rejects(metadata.put(record), { code: 'LARDER_INTERNAL' });
    assert.equal(metadata.get(record.reference, true, PLATFORM), undefined);
    assert.deepEqual([...metadata.list()], []);
    await metadata.prune([]);
    assert.equal(await metadata.remove(record.reference), 0);
    assert.deepEqual(appc.get(record.reference, true, PLATFORM), record);
  },
};

const recoverCases: Record<string, Case> = {
  'recover keeps everything while everything is on disk': async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/a:1', ['a', 'b']);
    await metadata.put(record);
    assert.deepEqual(await metadata.recover(diskOf(metadata)), []);
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
  },
  'recover of an empty store finds nothing': async ({ metadata }) => {
    assert.deepEqual(await metadata.recover(diskOf(metadata)), []);
  },
  'recover drops and reports the images whose layer is gone, and only those': async ({ metadata, open }) => {
    await metadata.put(sampleRecord('docker.io/library/a:1', ['base', 'lost']));
    await metadata.put(sampleRecord('docker.io/library/b:1', ['base']));
    await metadata.put(sampleRecord('docker.io/library/c:1', ['lost']));
    const lost = sampleDiffId('lost');
    const dropped = await metadata.recover(diskOf(metadata, lost));
    assert.deepEqual(dropped, [
      { reference: 'docker.io/library/a:1', platform: PLATFORM, missing: [lost] },
      { reference: 'docker.io/library/c:1', platform: PLATFORM, missing: [lost] },
    ]);
    const left = [...(await open()).list()].map((record) => record.reference);
    assert.deepEqual(left, ['docker.io/library/b:1']);
  },
  'recover drops an image whose manifest is gone': lostBlob('manifest'),
  'recover drops an image whose config is gone': lostBlob('config'),
  'recover looks at the disk once, however many images there are': async ({ metadata }) => {
    for (const name of ['a', 'b', 'c']) await metadata.put(sampleRecord(`docker.io/library/${name}:1`, ['base']));
    const { layers, blobs } = diskOf(metadata);
    const looks: string[] = [];
    const noted = <T>(what: string, look: () => T): (() => T) => {
      return () => {
        looks.push(what);
        return look();
      };
    };
    const dropped = await metadata.recover({ layers: noted('layers', layers), blobs: noted('blobs', blobs) });
    assert.deepEqual(dropped, []);
    assert.deepEqual(looks.sort(), ['blobs', 'layers']);
  },
  'recover needs no image index, and every document beside it': async ({ metadata }) => {
    const extra = sampleDigest('whitelist');
    const record = sampleRecord('docker.io/library/a:1', ['a'], { extraBlobs: [extra] });
    await metadata.put(record);
    assert.deepEqual(await metadata.recover(diskOf(metadata, record.digest)), []);
    assert.deepEqual(await metadata.recover(diskOf(metadata, extra)), [
      { reference: record.reference, platform: PLATFORM, missing: [extra] },
    ]);
  },
  'an image that is pulled again while recover looks is left alone': async ({ metadata, open }) => {
    const other = await open();
    const record = sampleRecord('docker.io/library/a:1', ['back']);
    await metadata.put(record);
    await metadata.put(sampleRecord('docker.io/library/b:1', ['b']));
    const { blobs } = diskOf(metadata);
    const layers = async (): Promise<ReadonlySet<DiffId>> => {
      // It is gone at this look, and here again by the time that recover goes on.
      await other.put(record);
      return new Set([sampleDiffId('b')]);
    };
    assert.deepEqual(await metadata.recover({ layers, blobs }), []);
    assert.deepEqual(metadata.get(record.reference, true, PLATFORM), record);
  },
};

function lostBlob(what: 'manifest' | 'config'): Case {
  return async ({ metadata }) => {
    const record = sampleRecord('docker.io/library/a:1', ['a']);
    await metadata.put(record);
    await metadata.put(sampleRecord('docker.io/library/b:1', ['a']));
    const dropped = await metadata.recover(diskOf(metadata, record[what]));
    assert.deepEqual(dropped, [{ reference: record.reference, platform: PLATFORM, missing: [record[what]] }]);
    assert.equal(metadata.get(record.reference, true, PLATFORM), undefined);
    assert.ok(metadata.get('docker.io/library/b:1', true, PLATFORM));
  };
}

const pruneCases: Record<string, Case> = {
  'prune keeps exactly the excluded images and answers what they need': async ({ metadata, open }) => {
    const kept = sampleRecord('docker.io/library/kept:1', ['base', 'kept']);
    await metadata.put(kept);
    await metadata.put(sampleRecord('docker.io/library/gone:1', ['base', 'gone']));
    const unknown = { reference: 'docker.io/library/unknown:1' };
    const references = await metadata.prune([kept, kept, unknown]);
    assert.deepEqual([...references.layers].sort(), [sampleDiffId('base'), sampleDiffId('kept')].sort());
    assert.deepEqual([...references.blobs].sort(), [kept.digest, kept.manifest, kept.config].sort());
    assert.deepEqual([...(await open()).list()], [kept]);
  },
  'prune without exclusions forgets every image and needs nothing': async ({ metadata }) => {
    await metadata.put(sampleRecord('docker.io/library/a:1', ['a']));
    const { layers, blobs } = await metadata.prune([]);
    assert.equal(layers.size + blobs.size, 0);
    assert.deepEqual([...metadata.list()], []);
  },
  'an exclusion without a platform keeps all platforms, and one with a platform that one': async ({ metadata }) => {
    for (const reference of ['docker.io/library/all:1', 'docker.io/library/one:1']) {
      for (const platform of [PLATFORM, 'linux/arm64'])
        await metadata.put(sampleRecord(reference, ['a'], { platform }));
    }
    await metadata.prune([
      { reference: 'docker.io/library/all:1' },
      { reference: 'docker.io/library/one:1', platform: 'linux/arm64' },
    ]);
    assert.deepEqual(
      [...metadata.list()].map(({ reference, platform }) => `${reference} ${platform}`),
      [
        `docker.io/library/all:1 ${PLATFORM}`,
        'docker.io/library/all:1 linux/arm64',
        'docker.io/library/one:1 linux/arm64',
      ],
    );
  },
};

const processCases: Record<string, Case> = {
  'ten processes put at once, and nothing is lost': async ({ metadata, putInProcess }) => {
    if (putInProcess === undefined) return;
    const records = (process: number): ImageRecord[] => {
      const own = Array.from({ length: 20 }, (_, i) => sampleRecord(`docker.io/p${process}/${i}:1`, ['base', `${i}`]));
      return [...own, sampleRecord('docker.io/library/shared:1', [`of ${process}`])];
    };
    await Promise.all(Array.from({ length: 10 }, (_, process) => putInProcess(records(process))));
    assert.equal([...metadata.list()].length, 201);
    assert.equal(metadata.get('docker.io/library/shared:1', true, PLATFORM)?.layers.length, 1);
  },
  'what a process acknowledged before it was killed is there, whole': async ({ metadata, open, putUntilKilled }) => {
    if (putUntilKilled === undefined) return;
    for (let round = 0; round < 3; round++) {
      const acknowledged = await (await putUntilKilled()).kill();
      assert.ok(acknowledged.length > 0);
      const after = await open();
      for (const reference of acknowledged) assert.ok(after.get(reference, true, PLATFORM), reference);
      for (const record of after.list()) assert.equal(record.layers.length, 3);
      await metadata.put(sampleRecord('docker.io/library/survivor:1', ['a', 'b', `${round}`]));
    }
  },
};

const sizeCases: Record<string, Case> = {
  'a record that cannot be written leaves the old answer, and a later put succeeds': async ({
    metadata,
    open,
    fillDisk,
  }) => {
    if (fillDisk === undefined) return;
    const old = sampleRecord('docker.io/library/a:1', ['old']);
    await metadata.put(old);
    const empty = await fillDisk();
    const bulk = Array.from({ length: 2000 }, (_, i) => `layer ${i}`);
    const record = sampleRecord('docker.io/library/a:1', bulk);
    await assert.rejects(metadata.put(record), { code: 'LARDER_NO_SPACE' });
    assert.deepEqual(metadata.get(old.reference, true, PLATFORM), old);
    assert.deepEqual((await open()).get(old.reference, true, PLATFORM), old);
    await empty();
    await metadata.put(record);
    assert.deepEqual(metadata.get(old.reference, true, PLATFORM), record);
  },
  '10,000 images are put by a hundred at a time, found, recovered and pruned': async ({ metadata }) => {
    const records = Array.from({ length: 10_000 }, (_, i) =>
      sampleRecord(`docker.io/library/image${i}:1`, ['base', `${i % 100}`, `own ${i}`]),
    );
    while (records.length > 0) await Promise.all(records.splice(0, 100).map((record) => metadata.put(record)));
    const reference = 'docker.io/library/image7777:1';
    assert.equal(metadata.get(reference, true, PLATFORM)?.layers.length, 3);
    const lost = sampleDiffId('own 5');
    assert.equal((await metadata.recover(diskOf(metadata, lost))).length, 1);
    assert.equal([...metadata.list()].length, 9_999);
    const { layers } = await metadata.prune([{ reference }]);
    assert.equal(layers.size, 3);
    assert.equal([...metadata.list()].length, 1);
  },
};
