import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { openLarder } from '../../src/larder.js';
import { NameFiles } from '../../src/metadata/names.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('the files with the names of images', () => {
  let directory: string;
  let names: string;

  beforeEach(async () => {
    directory = makeDirectory();
    names = join(directory, 'store', 'metadata', 'names');
    await using source = await ImageSource.start();
    source.publish('image', [sampleLayer('image')]);
    await using larder = await openLarder({ root: join(directory, 'store') });
    await (await larder.pull(source.reference('image')))[Symbol.asyncDispose]();
  });
  afterEach(() => removeDirectory(directory));

  it('are rid of what a killed pull left by the next prune', async () => {
    const [name = ''] = readdirSync(names);
    writeFileSync(join(names, `${name}.${randomUUID()}.tmp`), '{"half');
    writeFileSync(join(names, `${'0'.repeat(64)}.json`), 'not the name of anything');
    await using larder = await openLarder({ root: join(directory, 'store') });
    await larder.prune({ exclude: larder.images().map(({ reference }) => reference) });
    assert.deepEqual(readdirSync(names), [name]);
  });

  it('keep the name of an image that is recorded while they are looked through', async () => {
    const before = readdirSync(names);
    const files = new NameFiles(names);
    const turn = async (work: () => void): Promise<void> => work();
    await files.sweep({ keys: () => [], isRecorded: () => true, turn });
    assert.deepEqual(readdirSync(names), before);
    await files.sweep({ keys: () => [], isRecorded: () => false, turn });
    assert.deepEqual(readdirSync(names), []);
  });
});
