/**
 * A regular file whose name ends in a slash is a directory to GNU tar and a file to Go; an old directory with content is
 * one that GNU tar skips and Go takes for the next header. Who scans a layer must see what is mounted: both are refused.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { dir, file, setChecksum, sparse, tar } from '../../src/testing/tar-builder.js';
import { readTar } from '../tar/helpers.js';

/** With the typeflag NUL, of before there was one. */
function old(name: string, content: string): Buffer {
  const entry = file(name, content, { format: 'v7' });
  entry[156] = 0;
  setChecksum(entry.subarray(0, 512));
  return entry;
}

for (const [what, entry] of Object.entries({
  'a file': file('v7/', 'q', { format: 'v7' }),
  'an empty file': file('d/', ''),
  'a file that pax names': file(`${'l'.repeat(200)}/`, 'x'),
  'a sparse file of pax': sparse('s/', 8192, [{ offset: 0, data: Buffer.alloc(512, 1) }], '1.0'),
  'a sparse file of GNU': sparse('s/', 8192, [{ offset: 0, data: Buffer.alloc(512, 1) }], 'gnu'),
  'an old directory with content': old('d/', 'content'),
})) {
  it(`${what} whose name ends in a slash is refused`, () => {
    const archive = tar([entry, file('next', 'x')]);
    assert.throws(() => readTar(archive), { code: 'LARDER_LAYER_INVALID', message: /ends in a slash/ });
  });
}

it('an old directory without content, and one of today, are directories', () => {
  const types = readTar(tar([old('old/', ''), dir('new/')])).map(({ type }) => type);
  assert.deepEqual(types, ['directory', 'directory']);
});
