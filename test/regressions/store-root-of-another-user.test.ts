import assert from 'node:assert/strict';
import { chmodSync, lchownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { prepareRoot } from '../../src/store-root.js';

const skip = process.getuid?.() === 0 ? false : 'only root can make files of another user';
const OTHER = 65_534;

describe("a store's root in a directory that others may write to", { skip }, () => {
  let place: string;

  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'larder-root-'));
    chmodSync(place, 0o1777);
  });

  afterEach(() => {
    rmSync(place, { recursive: true, force: true });
  });

  it("is not taken through another user's symbolic link", async () => {
    const victim = join(place, 'victim');
    mkdirSync(victim, { mode: 0o755 });
    const root = join(place, 'store');
    symlinkSync(victim, root);
    lchownSync(root, OTHER, OTHER);
    await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE' });
    assert.deepEqual(readdirSync(victim), []);
    assert.equal(statSync(victim).mode & 0o777, 0o755);
  });

  it("is refused before anything is written into another user's directory", async () => {
    const root = join(place, 'store');
    mkdirSync(root, { mode: 0o700 });
    lchownSync(root, OTHER, OTHER);
    await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE' });
    assert.deepEqual(readdirSync(root), []);
  });
});
