import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { moveAside } from '../../src/metadata/rebuild.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a damaged database whose log somebody takes away meanwhile', () => {
  let directory: string;

  beforeEach(() => {
    directory = makeDirectory();
  });

  afterEach(() => removeDirectory(directory));

  it('is moved aside all the same', async () => {
    const path = join(directory, 'larder.db');
    for (const suffix of ['', '-wal', '-shm']) writeFileSync(`${path}${suffix}`, '');
    // Both have looked before one of them moves anything.
    await Promise.all(['one', 'two'].map((aside) => moveAside(path, join(directory, aside))));
    assert.deepEqual(readdirSync(directory).sort(), ['one', 'two']);
    const moved = ['one', 'two'].flatMap((aside) => readdirSync(join(directory, aside)));
    assert.deepEqual(moved.sort(), ['larder.db', 'larder.db-shm', 'larder.db-wal']);
  });
});
