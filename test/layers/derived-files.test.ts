import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type DerivedFiles, writeDerivedFiles } from '../../src/layers/derived-files.js';
import type { BuiltIndex } from '../../src/tree/index-builder.js';
import { buildLines, file as fileLine } from '../tree/entries.js';

describe('layer.extra', () => {
  let scratch: string;

  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), 'larder-derived-'));
  });
  afterEach(() => rmSync(scratch, { recursive: true, force: true }));

  async function derive(built: BuiltIndex, archive: Uint8Array): Promise<DerivedFiles> {
    const path = join(scratch, 'layer.tar');
    writeFileSync(path, archive);
    const fd = openSync(path, 'r');
    try {
      return await writeDerivedFiles(built, fd, scratch, new AbortController().signal);
    } finally {
      closeSync(fd);
    }
  }

  it('is read-only, padded to whole blocks, and keeps its holes', async () => {
    const archive = Buffer.concat([0, 1, 2, 3].map((i) => Buffer.alloc(512, i + 1)));
    const built = buildLines(
      [
        fileLine('a', 0, { size: 8 * 2 ** 20, offset: 0, stored: 100, sparse: [{ offset: 5, length: 100 }] }),
        fileLine('b', 0, { size: 3, offset: 512, zeroPadded: false }),
      ],
      {},
      archive.length,
    );
    const { extra } = await derive(built, archive);
    assert.ok(extra !== undefined);
    const { size, blocks, mode } = statSync(extra.path);
    assert.equal(size, built.index.extraSize);
    assert.equal(size, 8 * 2 ** 20 + 512);
    assert.ok(blocks * 512 < 2 ** 20);
    assert.equal(mode & 0o777, 0o400);
    const bytes = readFileSync(extra.path);
    assert.deepEqual(bytes.subarray(4, 7), Buffer.from([0, 1, 1]));
    assert.deepEqual(bytes.subarray(8 * 2 ** 20, 8 * 2 ** 20 + 4), Buffer.from([2, 2, 2, 0]));
  });

  it('is not made from a tar that is shorter than its index says', async () => {
    const built = buildLines([fileLine('a', 0, { size: 600, offset: 0, zeroPadded: false })]);
    await assert.rejects(derive(built, Buffer.alloc(512)), { name: 'LarderError' });
  });
});
