import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as t from '../../src/testing/tar-builder.js';
import { readerCases } from '../corpus/reader-cases.js';
import { verdictOf } from './helpers.js';

const INVALID = 'LARDER_LAYER_INVALID';

describe('tar reader: hostile and odd archives', () => {
  for (const [id, expected, archive, options = {}] of readerCases) {
    it(`${id}: ${expected}`, () => {
      assert.equal(verdictOf(archive, options), expected);
      assert.equal(verdictOf(archive, { ...options, chunk: 1 }), expected, 'byte by byte');
    });
  }

  it('stops at the limit however large the next chunk would be, in the order of the bytes', () => {
    const archive = t.raw(t.file('a', '', { checksum: 'bad' }), Buffer.alloc(9000));
    assert.equal(verdictOf(archive, { limits: { maxTarBytes: 4096 } }), INVALID);
  });

  it('takes linear time for many small records, attributes and map entries', () => {
    const records = (n: number) =>
      t.tar([t.file('a', '', { pax: Array.from({ length: n }, (_, i) => [`SCHILY.xattr.user.${i}`, 'v'] as const) })]);
    const timeOf = (archive: Buffer) => {
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i < 5; i++) {
        // Of the processor: what else runs on the machine is no matter.
        const before = process.cpuUsage();
        verdictOf(archive);
        best = Math.min(best, process.cpuUsage(before).user / 1000);
      }
      return best;
    };
    const [small, large] = [records(3000), records(24_000)].map(timeOf) as [number, number];
    assert.ok(large < 8 * 4 * small + 5, `3,000 records: ${small} ms, 24,000: ${large} ms`);
  });
});
