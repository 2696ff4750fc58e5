import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { destroyRootfs } from '../../src/backends/rootfs-files.js';
import { runHere } from '../../src/backends/tasks.js';
import { mkdirAt, openDirectory, openDirectoryAt } from '../../src/linux/at-calls.js';
import { removeTree } from '../../src/linux/remove-tree.js';

describe('what a container made', () => {
  let root: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'larder-remove-'));
  });

  afterEach(() => {
    removeTree(root);
  });

  it('is destroyed though its paths are longer than PATH_MAX', async () => {
    const upper = join(root, 'upper');
    mkdirSync(upper);
    makeDeep(upper, 30, 'n'.repeat(250));
    symlinkSync('none', join(root, 'made'));
    assert.equal(await destroyRootfs(join(root, 'rootfs'), root, runHere, () => {}), true);
    assert.equal(existsSync(upper), false);
  });

  it('goes away in one call, also when a directory has more directories than are remembered', () => {
    const wide = join(root, 'wide');
    mkdirSync(wide);
    for (let i = 0; i < 17_000; i++) mkdirSync(join(wide, `${i}`));
    writeFileSync(join(wide, '5', 'file'), '');
    assert.equal(removeTree(wide), true);
    assert.equal(existsSync(wide), false);
  });
});

function makeDeep(path: string, levels: number, name: string): void {
  let directory = openDirectory(path);
  try {
    for (let i = 0; i < levels; i++) {
      mkdirAt(directory, name);
      const below = openDirectoryAt(directory, name);
      closeSync(directory);
      directory = below;
    }
  } finally {
    closeSync(directory);
  }
}
