/** Each invariant broken by hand, and what check says of it. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Finding } from '../src/check.js';
import { type Larder, type LarderEvent, openLarder } from '../src/index.js';
import { openSqlite } from '../src/metadata/sqlite.js';
import { ImageSource, sampleLayer } from '../src/testing/image-source.js';
import { makeDirectory, needsRoot, removeDirectory } from './helpers/temporary.js';

describe('check', () => {
  let source: ImageSource;
  let directory: string;
  let larder: Larder;

  beforeEach(async () => {
    source = await ImageSource.start();
    source.publish('a', [sampleLayer('one', 10_000), sampleLayer('two')]);
    directory = makeDirectory();
    larder = await openLarder({ root: join(directory, 'store') });
    await (await larder.pull(source.reference('a')))[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  async function found(deep = false): Promise<Finding[]> {
    const findings: Finding[] = [];
    for await (const finding of larder.check({ deep })) findings.push(finding);
    return findings;
  }

  const kinds = (findings: readonly Finding[]): string[] =>
    [...new Set(findings.map(({ kind, invariant }) => `${kind} ${invariant}`))].sort();
  const layer = (i = 0): string =>
    join(larder.root, 'layers', 'sha256', readdirSync(join(larder.root, 'layers', 'sha256')).sort()[i] ?? '');
  const in_ = (...path: readonly string[]): string => join(larder.root, ...path);

  function flip(path: string): void {
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    chmodSync(path, 0o400);
  }

  test('finds nothing in a store that is whole', async () => {
    assert.deepEqual(await found(), []);
    assert.deepEqual(await found(true), []);
  });

  const damages: Record<string, readonly [() => void, readonly string[]]> = {
    'a document with other bytes': [
      () => flip(in_('blobs', 'sha256', readdirSync(in_('blobs', 'sha256'))[0] ?? '')),
      ['fault I1'],
    ],
    'a document that is gone': [
      () => rmSync(in_('blobs', 'sha256', larder.images()[0]?.config.slice(7) ?? '')),
      ['fault I3'],
    ],
    'a layer that is gone': [() => rmSync(layer(), { recursive: true }), ['fault I2', 'fault I3']],
    'a layer without its tar': [() => rmSync(join(layer(), 'layer.tar')), ['fault I2', 'fault I3']],
    'a layer that lost its end': [() => truncateSync(join(layer(), 'layer.tar'), 512), ['fault I2', 'fault I3']],
    'a layer that can be written': [() => chmodSync(join(layer(), 'layer.tar'), 0o644), ['fault I11']],
    'something else beside a tar': [() => writeFileSync(join(layer(), 'extra'), ''), ['fault I2']],
    'a layer that no record names': [
      () => {
        mkdirSync(in_('layers', 'sha256', 'f'.repeat(64)));
        writeFileSync(in_('layers', 'sha256', 'f'.repeat(64), 'layer.tar'), '');
      },
      ['garbage I2'],
    ],
    'a container that nobody claims': [() => mkdirSync(in_('containers', 'c')), ['fault I4']],
    'what is derived and gone': [() => rmSync(in_('derived'), { recursive: true }), ['garbage I10']],
    'what a dead process was working on': [() => mkdirSync(in_('staging', 'dead.0123456789abcdef')), ['garbage I6']],
    'what a dead process told of its pull': [
      () => writeFileSync(in_('pulls', `${'0'.repeat(36)}.01234567`), ''),
      ['garbage I6'],
    ],
    'what waits to be deleted': [() => mkdirSync(in_('gc', 'x')), ['garbage I6']],
  };
  for (const [what, [damage, expected]] of Object.entries(damages)) {
    test(`finds ${what}`, async () => {
      damage();
      assert.deepEqual(kinds(await found()), expected);
    });
  }

  test('finds a volume that nobody claims', async () => {
    await larder.provision(source.reference('a'), { id: 'c', backend: 'copy' });
    mkdirSync(in_('containers', 'c', 'volumes', 'data'), { recursive: true });
    assert.deepEqual(kinds(await found()), ['fault I4']);
  });

  test('finds leases of a process that is gone', async () => {
    const database = openSqlite(in_('metadata', 'larder.db'), false);
    database.exec("INSERT INTO leases VALUES ('l', '00000000-0000-4000-8000-000000000000', 1)");
    database.close();
    assert.deepEqual(kinds(await found()), ['garbage I5']);
  });

  test('finds a layer whose whitelist the image does not hold', async () => {
    const database = openSqlite(in_('metadata', 'larder.db'), false);
    database.exec(`UPDATE image_layers SET view = 'rootfs@${'0'.repeat(64)}' WHERE position = 0`);
    database.close();
    assert.deepEqual(kinds(await found()), ['fault I3']);
  });

  test('looks at images of both types', async () => {
    const database = openSqlite(in_('metadata', 'larder.db'), false);
    database.exec("UPDATE images SET type = 'appc'");
    database.close();
    rmSync(layer(), { recursive: true });
    assert.deepEqual(kinds(await found()), ['fault I2', 'fault I3']);
  });

  test('finds overlay directories that are gone', { skip: needsRoot }, async () => {
    await larder.provision(source.reference('a'), { id: 'c', backend: 'overlay' });
    await larder.destroy('c');
    rmSync(join(larder.root, 'derived', readdirSync(in_('derived'))[0] ?? '', 'chains'), { recursive: true });
    assert.deepEqual(kinds(await found()), ['garbage I10']);
  });

  test('tells how many bytes of all it has read', async () => {
    const events: LarderEvent[] = [];
    for await (const _ of larder.check({ deep: true, onEvent: (event) => void events.push(event) }));
    const progress = events.filter((event) => event.type === 'progress');
    const total = larder.images().reduce((sum, { bytes }) => sum + bytes, 0);
    const last = progress.at(-1);
    assert.deepEqual(last, { type: 'progress', what: 'check', done: total, total });
  });

  test('finds a flipped bit of a layer only when it reads every byte', async () => {
    flip(join(layer(), 'layer.tar'));
    assert.deepEqual(await found(), []);
    assert.deepEqual(kinds(await found(true)), ['fault I2']);
  });

  test('finds a flipped bit of what is derived only when it reads every byte', async () => {
    const folder = in_('derived', readdirSync(in_('derived'))[0] ?? '', 'layers');
    flip(join(folder, readdirSync(folder)[0] ?? '', 'index'));
    assert.deepEqual(await found(), []);
    assert.deepEqual(kinds(await found(true)), ['garbage I10']);
  });

  test('changes nothing, not even what a dead process left', async () => {
    await larder.close();
    mkdirSync(in_('gc', 'x'));
    mkdirSync(in_('staging', 'dead.0123456789abcdef'));
    writeFileSync(in_('ingest', 'put-dead'), '');
    rmSync(in_('mounts'), { recursive: true });
    const list = (): string[] => readdirSync(larder.root, { recursive: true, encoding: 'utf8' }).sort();
    const before = list();
    larder = await openLarder({ root: larder.root });
    assert.deepEqual(kinds(await found(true)), ['garbage I6']);
    await larder.close();
    assert.deepEqual(list(), before);
  });

  test('finds nothing in a store into which nothing was pulled', async () => {
    await using empty = await openLarder({ root: join(directory, 'empty') });
    for await (const finding of empty.check({ deep: true })) assert.fail(JSON.stringify(finding));
  });

  test('calls what cannot be read a fault of its own, and goes on', async () => {
    const path = layer();
    rmSync(path, { recursive: true });
    writeFileSync(path, '');
    chmodSync(join(layer(1), 'layer.tar'), 0o644);
    const findings = await found(true);
    assert.ok(findings.some(({ subject, message }) => subject.endsWith(basename(path)) && /ENOTDIR/.test(message)));
    assert.ok(findings.some(({ invariant }) => invariant === 'I11'));
  });

  test('reports no fault beside a loop of pull and prune in another handle', async () => {
    await using other = await openLarder({ root: larder.root });
    const until = Date.now() + 3000;
    const loop = (async (): Promise<void> => {
      while (Date.now() < until) {
        await (await other.pull(source.reference('a')))[Symbol.asyncDispose]();
        await other.prune();
      }
    })();
    const faults: Finding[] = [];
    let checks = 0;
    while (Date.now() < until) {
      faults.push(...(await found(checks++ % 2 === 1)).filter(({ kind }) => kind === 'fault'));
    }
    await loop;
    assert.deepEqual(faults, []);
    assert.ok(checks > 3, `${checks} checks`);
  });

  test('can be cancelled', async () => {
    const check = async (): Promise<void> => {
      for await (const _ of larder.check({ signal: AbortSignal.abort() }));
    };
    await assert.rejects(check, { code: 'LARDER_ABORTED' });
  });

  test('what it calls garbage goes with the next prune', async () => {
    mkdirSync(in_('layers', 'sha256', 'f'.repeat(64)));
    writeFileSync(in_('layers', 'sha256', 'f'.repeat(64), 'layer.tar'), '');
    mkdirSync(in_('gc', 'x'));
    writeFileSync(in_('pulls', `${'0'.repeat(36)}.01234567`), '');
    await larder.prune();
    assert.deepEqual(await found(), []);
  });
});
