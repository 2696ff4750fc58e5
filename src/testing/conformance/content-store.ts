/** ▸ What every content store must keep. Cases use the roles only; what a fixture leaves out is skipped. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { type BlobInfo, type ContentManager, MAX_BLOB_BYTES } from '../../content/content-store.js';
import { type Digest, digestOf } from '../../spec/digest.js';
import type { Register } from './register.js';

export interface ContentStoreFixture {
  readonly store: ContentManager;
  /** The same content through another instance, as after a restart. */
  reopen(): Promise<ContentManager>;
  /** Changes a stored blob behind the store's back. */
  damage(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** Puts in a process of its own; resolves when that process has ended well. */
  putInProcess?(bytes: Uint8Array): Promise<void>;
  /** Opens an ingest in a process of its own, appends, and is killed with SIGKILL by `kill`. */
  ingestInProcess?(digest: Digest, bytes: Uint8Array): Promise<{ kill(): Promise<void> }>;
  dispose(): Promise<void>;
}

type Case = (fixture: ContentStoreFixture) => Promise<void>;

export function contentStoreConformance(
  name: string,
  create: () => Promise<ContentStoreFixture>,
  register: Register = test,
): void {
  for (const [sentence, body] of Object.entries({ ...blobCases, ...damageCases, ...ingestCases, ...processCases })) {
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

const blobCases: Record<string, Case> = {
  'a blob that was put is there and reads back': async ({ store }) => {
    const bytes = randomBytes(5000);
    const digest = await store.put(bytes);
    assert.equal(digest, digestOf(bytes));
    assert.equal(await store.has(digest), true);
    assert.deepEqual(await store.read(digest), bytes);
    assert.deepEqual(await store.find(digest), bytes);
  },
  'the empty blob is a blob': async ({ store }) => {
    const digest = await store.put(new Uint8Array());
    assert.equal((await store.read(digest)).length, 0);
  },
  'a blob may be named by sha512': async ({ store }) => {
    const bytes = randomBytes(10);
    const digest = digestOf(bytes, 'sha512');
    assert.equal(await store.put(bytes, digest), digest);
    assert.deepEqual(await store.read(digest), bytes);
    assert.equal(await store.has(digestOf(bytes)), false);
  },
  'a blob that is not there is undefined to find and LARDER_BLOB_NOT_FOUND to read': async ({ store }) => {
    const digest = digestOf(randomBytes(10));
    assert.equal(await store.has(digest), false);
    assert.equal(await store.find(digest), undefined);
    await assert.rejects(store.read(digest), { code: 'LARDER_BLOB_NOT_FOUND' });
  },
  'bytes of another digest leave nothing visible': async ({ store }) => {
    const expected = digestOf(randomBytes(10));
    const bytes = randomBytes(10);
    await assert.rejects(store.put(bytes, expected), { code: 'LARDER_DIGEST_MISMATCH' });
    assert.deepEqual(await listOf(store), []);
  },
  'bytes beyond the limit are refused and leave nothing visible': async ({ store }) => {
    const bytes = Buffer.alloc(MAX_BLOB_BYTES + 1);
    await assert.rejects(store.put(bytes), { code: 'LARDER_SIZE_MISMATCH' });
    assert.deepEqual(await listOf(store), []);
  },
  'putting again what is there is quiet': async ({ store }) => {
    const bytes = randomBytes(10);
    assert.equal(await store.put(bytes), await store.put(bytes));
    assert.equal((await listOf(store)).length, 1);
  },
  'two writers of one digest both succeed': async ({ store }) => {
    const bytes = randomBytes(100_000);
    const digests = await Promise.all(Array.from({ length: 8 }, () => store.put(bytes)));
    assert.equal(new Set(digests).size, 1);
    assert.deepEqual(await store.read(digestOf(bytes)), bytes);
    assert.equal((await listOf(store)).length, 1);
  },
  'the list has each blob once, with its size': async ({ store }) => {
    const blobs = [randomBytes(0), randomBytes(1), randomBytes(300)];
    for (const bytes of blobs) await store.put(bytes);
    const expected = blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.length }));
    assert.deepEqual(await listOf(store), expected.sort(byDigest));
  },
  'a removed blob is out of sight, and removing it again answers false': async ({ store }) => {
    const digest = await store.put(randomBytes(10));
    const other = await store.put(randomBytes(10));
    assert.equal(await store.remove(digest), true);
    assert.equal(await store.has(digest), false);
    assert.equal(await store.find(digest), undefined);
    assert.equal(await store.remove(digest), false);
    assert.equal(await store.has(other), true);
  },
  'a removed blob can be put again': async ({ store }) => {
    const bytes = randomBytes(10);
    const digest = await store.put(bytes);
    await store.remove(digest);
    await store.put(bytes);
    assert.deepEqual(await store.read(digest), bytes);
  },
  'blobs are there after a restart': async ({ store, reopen }) => {
    const bytes = randomBytes(10);
    const digest = await store.put(bytes);
    assert.deepEqual(await (await reopen()).read(digest), bytes);
  },
};

function refused(change: (bytes: Buffer) => Uint8Array): Case {
  return async ({ store, damage }) => {
    const bytes = randomBytes(5000);
    const digest = await store.put(bytes);
    await damage(digest, change(bytes));
    await assert.rejects(store.read(digest), { code: 'LARDER_DIGEST_MISMATCH' });
    await assert.rejects(store.find(digest), { code: 'LARDER_DIGEST_MISMATCH' });
  };
}

const damageCases: Record<string, Case> = {
  'a blob with one flipped bit is refused': refused((bytes) => {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(4000) ^ 1, 4000);
    return flipped;
  }),
  'a blob that was cut is refused': refused((bytes) => bytes.subarray(0, 4999)),
  'a blob that was emptied is refused': refused(() => new Uint8Array()),
  'a blob that has grown is refused': refused((bytes) => Buffer.concat([bytes, Buffer.from('\0')])),
  'putting a blob again repairs a damaged copy': async ({ store, damage }) => {
    const bytes = randomBytes(5000);
    const digest = await store.put(bytes);
    await damage(digest, randomBytes(5000));
    await store.put(bytes);
    assert.deepEqual(await store.read(digest), bytes);
  },
};

const ingestCases: Record<string, Case> = {
  'a new ingest has no bytes': async ({ store }) => {
    const ingest = await store.openIngest(digestOf(randomBytes(10)));
    assert.equal(ingest.size, 0);
    await ingest.abort();
  },
  'disposing of an ingest keeps its bytes for a resume': async ({ store, reopen }) => {
    const [digest, bytes] = [digestOf(randomBytes(10)), randomBytes(700)];
    const first = await store.openIngest(digest);
    await appendFile(first.dataPath, bytes);
    await first[Symbol.asyncDispose]();
    const second = await (await reopen()).openIngest(digest);
    assert.equal(second.size, 700);
    assert.deepEqual(await readFile(second.dataPath), bytes);
    await second.abort();
  },
  'aborting an ingest drops its bytes': async ({ store }) => {
    const digest = digestOf(randomBytes(10));
    const first = await store.openIngest(digest);
    await appendFile(first.dataPath, 'wrong');
    await first.abort();
    const second = await store.openIngest(digest);
    assert.equal(second.size, 0);
    await second.abort();
  },
  'an ingest that is not finished makes no blob': async ({ store }) => {
    const bytes = randomBytes(10);
    const ingest = await store.openIngest(digestOf(bytes));
    await appendFile(ingest.dataPath, bytes);
    assert.equal(await store.has(ingest.digest), false);
    await ingest[Symbol.asyncDispose]();
    assert.equal(await store.has(ingest.digest), false);
  },
  'finishing an ingest drops its bytes, and calls after it do nothing': async ({ store }) => {
    const digest = digestOf(randomBytes(10));
    const ingest = await store.openIngest(digest);
    await appendFile(ingest.dataPath, 'bytes');
    await ingest.finish();
    const next = await store.openIngest(digest);
    assert.equal(next.size, 0);
    await appendFile(next.dataPath, 'others');
    await ingest.abort();
    await ingest[Symbol.asyncDispose]();
    assert.equal(await readFile(next.dataPath, 'utf8'), 'others');
    await next.finish();
    assert.deepEqual(await leftoversOf(store), []);
    assert.deepEqual(await listOf(store), []);
  },
  'finishing an ingest may make its bytes a blob': async ({ store }) => {
    const bytes = randomBytes(3000);
    const ingest = await store.openIngest(digestOf(bytes));
    await appendFile(ingest.dataPath, bytes);
    await ingest.finish({ keepBlob: true });
    assert.deepEqual(await store.read(ingest.digest), bytes);
    assert.deepEqual(await leftoversOf(store), []);
  },
  'a second ingest of one digest waits until the first has ended': async ({ store, reopen }) => {
    const digest = digestOf(randomBytes(10));
    const first = await store.openIngest(digest);
    let waits = 0;
    let opened = false;
    const second = (await reopen()).openIngest(digest, { onWait: () => waits++ }).then((ingest) => {
      opened = true;
      return ingest;
    });
    const other = await store.openIngest(digestOf(randomBytes(10)));
    await other.abort();
    assert.equal(opened, false);
    assert.equal(waits, 1);
    await appendFile(first.dataPath, 'kept');
    await first[Symbol.asyncDispose]();
    assert.equal((await second).size, 4);
    await (await second).abort();
  },
  'waiting for an ingest can be cancelled': async ({ store }) => {
    const digest = digestOf(randomBytes(10));
    const first = await store.openIngest(digest);
    const controller = new AbortController();
    const second = store.openIngest(digest, { signal: controller.signal });
    controller.abort();
    await assert.rejects(second, { code: 'LARDER_ABORTED' });
    await first.abort();
  },
  'ingests are listed, busy or left over, and only those left over can be removed': async ({ store }) => {
    const digest = digestOf(randomBytes(10));
    const ingest = await store.openIngest(digest);
    await appendFile(ingest.dataPath, 'four');
    assert.deepEqual(await leftoversOf(store), [{ digest, size: 4, busy: true }]);
    assert.equal(await store.removeIngest(digest), false);
    await ingest[Symbol.asyncDispose]();
    assert.deepEqual(await leftoversOf(store), [{ digest, size: 4, busy: false }]);
    assert.equal(await store.removeIngest(digest), true);
    assert.deepEqual(await leftoversOf(store), []);
    assert.equal(await store.removeIngest(digest), false);
  },
};

const processCases: Record<string, Case> = {
  'ten processes put one blob': async ({ store, putInProcess }) => {
    if (putInProcess === undefined) return;
    const bytes = randomBytes(50_000);
    await Promise.all(Array.from({ length: 10 }, () => putInProcess(bytes)));
    assert.deepEqual(await store.read(digestOf(bytes)), bytes);
    assert.equal((await listOf(store)).length, 1);
  },
  'the bytes of an ingest outlive their process, and its hold does not': async ({ store, ingestInProcess }) => {
    if (ingestInProcess === undefined) return;
    const [digest, bytes] = [digestOf(randomBytes(10)), randomBytes(900)];
    const other = await ingestInProcess(digest, bytes);
    assert.deepEqual(await leftoversOf(store), [{ digest, size: 900, busy: true }]);
    const waiting = store.openIngest(digest);
    await other.kill();
    const ingest = await waiting;
    assert.equal(ingest.size, 900);
    assert.deepEqual(await readFile(ingest.dataPath), bytes);
    await ingest.abort();
  },
};

async function listOf(store: ContentManager): Promise<BlobInfo[]> {
  const found: BlobInfo[] = [];
  for await (const blob of store.list()) found.push(blob);
  return found.sort(byDigest);
}

async function leftoversOf(store: ContentManager): Promise<{ digest: Digest; size: number; busy: boolean }[]> {
  const found: { digest: Digest; size: number; busy: boolean }[] = [];
  for await (const { digest, size, busy } of store.listIngests()) found.push({ digest, size, busy });
  return found;
}

function byDigest(a: BlobInfo, b: BlobInfo): number {
  return a.digest < b.digest ? -1 : 1;
}
