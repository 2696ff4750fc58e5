import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ContentStore, MAX_BLOB_BYTES } from '../../src/content/content-store.js';
import { tryLockFile } from '../../src/linux/file-lock.js';
import { digestOf } from '../../src/spec/digest.js';
import { contentStoreConformance } from '../../src/testing/conformance/content-store.js';
import { contentFixture, type StoreFixture } from './fixture.js';

contentStoreConformance('content store on disk', () => contentFixture());

async function withStore(body: (store: ContentStore, fixture: StoreFixture) => Promise<void>): Promise<void> {
  const fixture = await contentFixture();
  try {
    await body(await ContentStore.create(fixture.layout), fixture);
  } finally {
    await fixture.dispose();
  }
}

test('a blob is a file of mode 0400 under its digest, and nothing else is left behind', () =>
  withStore(async (store, { layout }) => {
    const digest = await store.put(Buffer.from('manifest'));
    const found = statSync(layout.blob(digest));
    assert.equal(found.mode & 0o777, 0o400);
    assert.equal(found.size, 8);
    assert.deepEqual(readdirSync(layout.ingests), []);
  }));

test('a removed blob lies in gc/ until that is swept', () =>
  withStore(async (store, { layout }) => {
    const digest = await store.put(Buffer.from('manifest'));
    await store.remove(digest);
    const [name = ''] = readdirSync(layout.gc);
    assert.match(name, /^blob-/);
    assert.equal(statSync(join(layout.gc, name)).size, 8);
  }));

test('recover leaves a file that somebody looks at, whose name may be another one’s a moment later', () =>
  withStore(async (store, { layout }) => {
    const path = join(layout.ingests, 'put-abandoned');
    writeFileSync(path, '');
    const looking = tryLockFile(path, 'shared', { create: false }) ?? assert.fail('not locked');
    assert.equal(await store.recover(), 0);
    assert.deepEqual(readdirSync(layout.ingests), ['put-abandoned']);
    looking.release();
    assert.equal(await store.recover(), 1);
    assert.deepEqual(readdirSync(layout.ingests), []);
  }));

test('a blob that is larger than the limit is refused before it is read', () =>
  withStore(async (store, { layout }) => {
    const digest = digestOf(Buffer.from('huge'));
    writeFileSync(layout.blob(digest), '');
    truncateSync(layout.blob(digest), MAX_BLOB_BYTES + 1);
    await assert.rejects(store.find(digest), { code: 'LARDER_SIZE_MISMATCH' });
  }));

test('a symlink in the place of a blob is no blob, and put replaces it', () =>
  withStore(async (store, { layout }) => {
    const bytes = Buffer.from('bytes');
    const elsewhere = join(layout.root, 'elsewhere');
    writeFileSync(elsewhere, bytes);
    symlinkSync(elsewhere, layout.blob(digestOf(bytes)));
    assert.equal(await store.has(digestOf(bytes)), false);
    await store.put(bytes);
    assert.equal(await store.has(digestOf(bytes)), true);
    assert.deepEqual(await store.read(digestOf(bytes)), bytes);
  }));

test('names under blobs/ that are no digests are not listed', () =>
  withStore(async (store, { layout }) => {
    writeFileSync(join(layout.blobs, 'sha256', 'README'), 'x');
    mkdirSync(join(layout.blobs, 'sha256', digestOf(Buffer.from('directory')).slice(7)));
    for await (const blob of store.list()) assert.fail(`listed ${blob.digest}`);
  }));

test('recover removes what killed writers left, and neither live writers nor bytes of downloads', () =>
  withStore(async (store, { layout }) => {
    writeFileSync(join(layout.ingests, 'put-dead'), 'x');
    const live = tryLockFile(join(layout.ingests, 'put-live'), 'exclusive');
    const broken = await store.openIngest(digestOf(Buffer.from('broken off')));
    await appendFile(broken.dataPath, 'bytes');
    await broken[Symbol.asyncDispose]();
    writeFileSync(`${layout.ingest(digestOf(Buffer.from('lock only')))}.lock`, '');
    const running = await store.openIngest(digestOf(Buffer.from('running')));
    assert.equal(await store.recover(), 2);
    const names = readdirSync(layout.ingests).map((name) => name.slice(0, 10));
    assert.deepEqual(
      names.filter((name) => name.startsWith('put-')),
      ['put-live'],
    );
    assert.equal(names.length, 4, 'put-live, two downloads, the lock of the running one');
    live?.release();
    await running.abort();
  }));

test('bytes that cannot be written are an error, and nothing is visible', () =>
  withStore(async (store, { layout }) => {
    const bytes = Buffer.from('blocked');
    mkdirSync(join(layout.blob(digestOf(bytes)), 'occupied'), { recursive: true });
    await assert.rejects(store.put(bytes), /write blob: .*EISDIR|ENOTEMPTY|EEXIST/);
    assert.equal(await store.has(digestOf(bytes)), false);
    assert.deepEqual(readdirSync(layout.ingests), []);
  }));
