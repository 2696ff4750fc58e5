import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Claims } from '../../src/metadata/claims.js';
import type { Database } from '../../src/metadata/database.js';
import { Derived } from '../../src/metadata/derived.js';
import { isHandleAlive, openHandle, type StoreHandle } from '../../src/metadata/handles.js';
import { History, type Resolution } from '../../src/metadata/history.js';
import { Layers } from '../../src/metadata/layers.js';
import { Leases } from '../../src/metadata/leases.js';
import type { ClaimedImage, ClaimRecord, DerivedRecord, LayerRecord } from '../../src/metadata/records.js';
import { parseContainerId } from '../../src/spec/container-id.js';
import { rootfsViewOf } from '../../src/spec/stack.js';
import { sampleDiffId, sampleDigest } from '../../src/testing/conformance/metadata-manager.js';
import { type Place, place } from './fixture.js';

interface Open {
  readonly here: Place;
  readonly database: Database;
  readonly handle: StoreHandle;
  readonly leases: Leases;
  readonly claims: Claims;
}

async function withOpen(body: (open: Open) => Promise<void>): Promise<void> {
  const here = await place();
  try {
    const database = await here.open();
    const handle = await openHandle(here.layout);
    const leases = new Leases({ database, layout: here.layout, handle });
    await body({ here, database, handle, leases, claims: new Claims(database) });
    handle.close();
  } finally {
    await here.dispose();
  }
}

function imageOf(name: string, changes: Partial<ClaimedImage> = {}): ClaimedImage {
  return {
    name,
    type: 'docker',
    reference: 'docker.io/library/b:1',
    platform: 'linux/amd64',
    backend: 'erofs',
    rootfs: `/store/containers/one/${name}/rootfs`,
    layers: ['z', 'a', 'm'].map((layer) => ({ diffId: sampleDiffId(layer) })),
    mergedKey: 'k1',
    ...changes,
  };
}

function claimOf(container: string, changes: Partial<ClaimRecord> = {}): ClaimRecord {
  return {
    container: parseContainerId(container),
    owner: 'me',
    images: [
      imageOf(''),
      imageOf('data', {
        type: 'appc',
        reference: 'appc:example.com/data:1.0',
        backend: 'bind',
        layers: [
          { diffId: sampleDiffId('y'), view: rootfsViewOf() },
          { diffId: sampleDiffId('x'), view: rootfsViewOf(sampleDigest('whitelist')) },
        ],
        mergedKey: 'k3',
      }),
    ],
    blobs: ['manifest', 'config'].map(sampleDigest),
    createdAtMs: 1_700_000_000_000,
    ...changes,
  };
}

test('a claim is answered whole, in the order in which it was made', () =>
  withOpen(async ({ claims, here }) => {
    const claim = claimOf('one');
    await claims.insert(claim);
    assert.deepEqual(claims.get(claim.container), claim);
    assert.deepEqual(new Claims(await here.open()).get(claim.container), claim);
    assert.equal(claims.get(parseContainerId('two')), undefined);
  }));

test('a second claim of one container is LARDER_CONTAINER_EXISTS, and the first one stands', () =>
  withOpen(async ({ claims, here }) => {
    const claim = claimOf('one');
    const others = await Promise.all([1, 2, 3, 4].map(async () => new Claims(await here.open())));
    const outcomes = await Promise.allSettled(others.map((other) => other.insert(claim)));
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    await assert.rejects(claims.insert(claimOf('one', { owner: 'other' })), { code: 'LARDER_CONTAINER_EXISTS' });
    assert.deepEqual(claims.get(claim.container), claim);
  }));

test('claims are listed for one owner or for all, and a removed one is gone with all its parts', () =>
  withOpen(async ({ claims, database }) => {
    await claims.insert(claimOf('b'));
    await claims.insert(claimOf('a', { owner: 'you', images: [imageOf('', { mergedKey: undefined })] }));
    assert.deepEqual(
      claims.list().map((claim) => claim.container),
      ['a', 'b'],
    );
    assert.deepEqual(claims.list('you'), [
      claimOf('a', { owner: 'you', images: [imageOf('', { mergedKey: undefined })] }),
    ]);
    assert.equal(await claims.remove(parseContainerId('a')), true);
    assert.equal(await claims.remove(parseContainerId('a')), false);
    assert.deepEqual(claims.list(), [claimOf('b')]);
    await claims.remove(parseContainerId('b'));
    for (const table of ['claims', 'claim_images', 'claim_layers', 'claim_blobs']) {
      assert.deepEqual(database.all(`SELECT * FROM ${table}`), []);
    }
  }));

test('the holders of a shared mount and of a layer are the containers that claim them', () =>
  withOpen(async ({ claims }) => {
    await claims.insert(claimOf('one'));
    await claims.insert(claimOf('two', { images: [imageOf('', { layers: [{ diffId: sampleDiffId('other') }] })] }));
    await claims.insert(
      claimOf('three', { images: [imageOf('', { mergedKey: 'k2' }), imageOf('again', { mergedKey: 'k2' })] }),
    );
    assert.deepEqual(claims.holdersOf('k1'), ['one', 'two']);
    assert.deepEqual(claims.holdersOf('k3'), ['one']);
    assert.deepEqual(claims.holdersOf('k9'), []);
    assert.deepEqual(claims.holdersOfLayer(sampleDiffId('a')), ['one', 'three']);
  }));

test('what containers use is told once for all of them', () =>
  withOpen(async ({ claims }) => {
    assert.deepEqual(claims.used(), { images: [], layers: [] });
    await claims.insert(claimOf('one'));
    await claims.insert(claimOf('two'));
    const { images, layers } = claims.used();
    assert.deepEqual(images.map(({ reference }) => reference).sort(), [
      'appc:example.com/data:1.0',
      'docker.io/library/b:1',
    ]);
    assert.equal(layers.length, 5);
    assert.deepEqual(
      layers
        .filter(({ view }) => view !== undefined)
        .map(({ diffId }) => diffId)
        .sort(),
      [sampleDiffId('x'), sampleDiffId('y')].sort(),
    );
  }));

test('a handle is alive until it is closed, and leaves no file', () =>
  withOpen(async ({ here }) => {
    const handle = await openHandle(here.layout);
    assert.equal(isHandleAlive(here.layout, handle.id), true);
    handle.close();
    handle.close();
    assert.equal(isHandleAlive(here.layout, handle.id), false);
    assert.equal(readdirSync(here.layout.handles).includes(handle.id), false);
    assert.equal(isHandleAlive(here.layout, '../lock'), false);
  }));

test('a lease holds what is added to it until it is released', () =>
  withOpen(async ({ leases, handle, database }) => {
    const lease = await leases.create({ blobs: [sampleDigest('m')] });
    await lease.add({ layers: [sampleDiffId('a'), sampleDiffId('b'), sampleDiffId('a')] });
    await lease.add({ layers: [sampleDiffId('b')], blobs: [sampleDigest('m')] });
    const [live] = leases.listLive();
    assert.equal(live?.handle, handle.id);
    assert.deepEqual(new Set(live?.layers), new Set([sampleDiffId('a'), sampleDiffId('b')]));
    assert.deepEqual(live?.blobs, [sampleDigest('m')]);
    await lease.release();
    await lease.release();
    assert.deepEqual(leases.listLive(), []);
    await assert.rejects(lease.add({ layers: [sampleDiffId('c')] }), { code: 'LARDER_INTERNAL' });
    assert.deepEqual(database.all('SELECT * FROM lease_layers'), []);
  }));

test('an empty lease is recorded when it first holds something, by whichever comes first', () =>
  withOpen(async ({ leases, database }) => {
    const lease = await leases.create();
    assert.deepEqual(database.all('SELECT * FROM leases'), []);
    await Promise.all(['a', 'b'].map((name) => lease.add({ layers: [sampleDiffId(name)] })));
    assert.deepEqual(new Set(leases.listLive()[0]?.layers), new Set([sampleDiffId('a'), sampleDiffId('b')]));
    await lease.release();
    assert.deepEqual(leases.listLive(), []);
  }));

test('what is added to a lease while it is given back is not held', () =>
  withOpen(async ({ leases }) => {
    const lease = await leases.create();
    const adding = lease.add({ layers: [sampleDiffId('a')] });
    await Promise.all([lease.release(), assert.rejects(adding, { code: 'LARDER_INTERNAL' })]);
    assert.deepEqual(leases.listLive(), []);
  }));

test('a change that waits for no disk is seen by others at once, and the next one waits again', () =>
  withOpen(async ({ here, database, leases, claims }) => {
    const lease = await leases.create({ layers: [sampleDiffId('a')] });
    const other = await here.open();
    assert.equal(other.all('SELECT * FROM lease_layers').length, 1);
    const level = (): unknown => database.get('PRAGMA synchronous')?.['synchronous'];
    const [NORMAL, FULL] = [1, 2];
    assert.equal(level(), NORMAL);
    await claims.remove(parseContainerId('none'));
    assert.equal(level(), FULL);
    await lease.release();
  }));

test('the lease of a closed handle counts no more, and recover removes it and no other', () =>
  withOpen(async ({ here, database, leases }) => {
    const other = await openHandle(here.layout);
    await new Leases({ database, layout: here.layout, handle: other }).create({ layers: [sampleDiffId('other')] });
    const ours = await leases.create({ layers: [sampleDiffId('ours')] });
    assert.equal(leases.listLive().length, 2);
    assert.equal(await leases.recover(), 0);
    other.close();
    assert.deepEqual(
      leases.listLive().map((lease) => lease.id),
      [ours.id],
    );
    assert.equal(await leases.recover(), 1);
    assert.equal(database.all('SELECT * FROM leases').length, 1);
  }));

test('the lease of a process that was killed counts until then and not after, and its handle file is removed', () =>
  withOpen(async ({ here, leases }) => {
    const script = join(import.meta.dirname, 'lease-child.js');
    const child = spawn(process.execPath, [script, here.layout.root], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    await leases.recover();
    assert.deepEqual(leases.listLive()[0]?.layers, [sampleDiffId('of the child')]);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.deepEqual(leases.listLive(), []);
    assert.equal(await leases.recover(), 1);
    assert.equal(readdirSync(here.layout.handles).length, 1);
  }));

function layerOf(name: string, changes: Partial<LayerRecord> = {}): LayerRecord {
  return {
    diffId: sampleDiffId(name),
    tarSize: 5 * 2 ** 40,
    entries: 12,
    indexSha256: 'ab',
    indexSize: 34,
    extraSha256: undefined,
    extraSize: 0,
    derivedFormat: 1,
    ...changes,
  };
}

test('layer records are put, replaced, listed and deleted', () =>
  withOpen(async ({ database }) => {
    const layers = new Layers(database);
    await layers.put(layerOf('a'), layerOf('b'));
    assert.deepEqual(layers.get(sampleDiffId('a')), layerOf('a'));
    const replaced = layerOf('a', { extraSha256: 'cd', extraSize: 7 });
    await layers.put(replaced);
    assert.deepEqual(layers.get(sampleDiffId('a')), replaced);
    assert.equal(layers.list().length, 2);
    assert.equal(await layers.delete(sampleDiffId('a'), sampleDiffId('c')), 1);
    assert.equal(layers.get(sampleDiffId('a')), undefined);
    assert.deepEqual(layers.list(), [layerOf('b')]);
  }));

test('derived records keep the order of their layers and are found by any of them', () =>
  withOpen(async ({ database }) => {
    const derived = new Derived(database);
    const merged: DerivedRecord = {
      kind: 'merged',
      key: 'k',
      sha256: 'ab',
      size: 9,
      layers: ['z', 'a'].map(sampleDiffId),
    };
    const chain: DerivedRecord = { ...merged, kind: 'chain', sha256: '' };
    await derived.put({ ...merged, layers: [] });
    await derived.put(merged);
    await derived.put(chain);
    assert.deepEqual(derived.get('merged', 'k'), merged);
    assert.deepEqual(derived.list('chain'), [chain]);
    assert.deepEqual(derived.madeFrom('merged', sampleDiffId('a')), [merged]);
    assert.deepEqual(derived.madeFrom('merged', sampleDiffId('b')), []);
    assert.equal(await derived.delete('merged', 'k', 'unknown'), 1);
    assert.equal(derived.get('merged', 'k'), undefined);
    assert.deepEqual(derived.get('chain', 'k'), chain);
  }));

test('history tells what a reference meant, newest first, and forgets what is too old', () =>
  withOpen(async ({ database }) => {
    const history = new History(database);
    const at = (n: number): Resolution => ({
      reference: 'a',
      platform: 'linux/amd64',
      digest: sampleDigest(`${n}`),
      imageId: `id ${n}`,
      how: 'resolved',
      atMs: n,
    });
    assert.equal(await history.add(at(0)), true);
    assert.equal(await history.add({ ...at(0), atMs: 5 }), false);
    await history.add({ ...at(0), reference: 'b' });
    for (let n = 1; n <= 100; n++) await history.add(at(n));
    const all = history.list('a');
    assert.equal(all.length, 100);
    assert.deepEqual(all[0], { ...at(100), seenMs: 100 });
    assert.deepEqual(all[99], { ...at(1), seenMs: 1 });
    assert.equal(history.list('b').length, 1);
  }));

test('history keeps platforms apart, and says until when a reference meant the same', () =>
  withOpen(async ({ database }) => {
    const history = new History(database);
    const one: Resolution = {
      reference: 'a',
      platform: 'linux/amd64',
      digest: sampleDigest('1'),
      imageId: 'id',
      how: 'taken-back',
      atMs: 1000,
    };
    assert.equal(await history.add(one), true);
    assert.equal(await history.add({ ...one, platform: 'linux/arm64' }), true);
    assert.equal(await history.add({ ...one, atMs: 1_000_000, how: 'resolved' }), false);
    assert.deepEqual(history.list('a', 'linux/amd64'), [{ ...one, seenMs: 1_000_000 }]);
    assert.deepEqual(
      history.list('a').map(({ platform, seenMs }) => [platform, seenMs]),
      [
        ['linux/arm64', 1000],
        ['linux/amd64', 1_000_000],
      ],
    );
  }));
