/** What a layer's index refuses was told without the layer and without the place, and of a link's target as if it were the entry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { file, hardlink, symlink, tar } from '../../src/testing/tar-builder.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';

const refused = [
  [file('../esc', 'x'), 'entry ../esc at byte 1024: its name has a ".." component'],
  [hardlink('l', '../../f'), 'entry l at byte 1024: its link target has a ".." component'],
  [symlink('s', ''), 'entry s at byte 1024: a symlink without a target'],
] as const;

for (const [entry, said] of refused) {
  test(`a refusal names layer, entry and place: ${said}`, () => {
    const reader = new TarReader(new IndexBuilder(DEFAULT_LAYER_LIMITS), DEFAULT_LAYER_LIMITS, 'layer one');
    const read = () => {
      reader.write(tar([file('before', 'x'), entry]));
      reader.end();
    };
    assert.throws(read, { code: 'LARDER_LAYER_INVALID', message: `reading layer: layer one, ${said}` });
  });
}
