import assert from 'node:assert/strict';
import { it } from 'node:test';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { char, dir, fifo, file, symlink, tar } from '../../src/testing/tar-builder.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';

it('user.* attributes of what is neither file nor directory are dropped: they could be listed and not read', () => {
  const xattrs = { 'user.a': 'b', 'trusted.a': 'c' };
  const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
  const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS);
  const archive = tar([
    fifo('p', { xattrs }),
    symlink('l', 'p', { xattrs }),
    char('c', 1, 3, { xattrs }),
    file('f', '', { xattrs }),
    dir('d', { xattrs }),
  ]);
  reader.write(archive);
  reader.end();
  const { index, ignored } = builder.finish(archive.length);
  const names = [0, 1, 2, 3, 4].map((entry) => index.xattrs(entry).map(({ name }) => Buffer.from(name).toString()));
  const [trusted, both] = [['trusted.a'], ['trusted.a', 'user.a']];
  assert.deepEqual(names, [trusted, trusted, trusted, both, both]);
  assert.equal(ignored.xattrs, 3);
});
