import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { workerEntry } from '../../src/assemble-worker-entry.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe("a program's own bundle with larder in it", () => {
  it("never starts the program's bin/worker.js", () => {
    const directory = makeDirectory();
    try {
      mkdirSync(join(directory, 'bin'));
      writeFileSync(join(directory, 'bin', 'worker.js'), '');
      const entry = workerEntry(pathToFileURL(join(directory, 'out', 'js', 'app.mjs')).href);
      assert.equal(entry.href, pathToFileURL(join(directory, 'out', 'js', 'assemble-worker.js')).href);
    } finally {
      removeDirectory(directory);
    }
  });
});
