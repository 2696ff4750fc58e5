import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { bindMount, unmount } from '../../src/linux/mount.js';
import { removeSmallTree } from '../../src/linux/remove-tree.js';

const skip = process.getuid?.() === 0 ? false : 'mounting needs root';

describe('a small tree in which a name is no UTF-8', () => {
  it('is not touched when something is mounted below that name', { skip }, () => {
    const base = realpathSync(mkdtempSync(join(tmpdir(), 'larder-bytes-')));
    const tree = join(base, 'tree');
    const odd = Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe])]);
    const place = Buffer.concat([odd, Buffer.from('/place')]);
    const precious = join(base, 'precious');
    mkdirSync(precious);
    mkdirSync(tree);
    writeFileSync(join(tree, 'file'), '');
    mkdirSync(odd);
    mkdirSync(place);
    bindMount({ source: precious, target: place });
    try {
      assert.equal(removeSmallTree(tree, 100), undefined);
      assert.ok(existsSync(join(tree, 'file')));
    } finally {
      unmount(place);
    }
    assert.equal(removeSmallTree(tree, 100), true);
    rmSync(base, { recursive: true });
  });
});
