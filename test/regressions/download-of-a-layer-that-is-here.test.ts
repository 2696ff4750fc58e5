import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { openLarder } from '../../src/index.js';
import { Layout } from '../../src/layout.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

test('a download that was left although its layer is here goes with the next pull of an image that has the layer', async () => {
  const root = makeDirectory();
  await using source = await ImageSource.start();
  const built = source.publish('one', [sampleLayer('shared'), sampleLayer('one')]);
  source.publish('two', [sampleLayer('shared'), sampleLayer('two')]);
  try {
    await using larder = await openLarder({ root });
    await (await larder.pull(source.reference('one')))[Symbol.asyncDispose]();
    const data = join(new Layout(root).ingest(built.layers[0]?.digest ?? assert.fail()), 'data');
    mkdirSync(dirname(data));
    writeFileSync(data, 'what a killed process left');
    await (await larder.pull(source.reference('two')))[Symbol.asyncDispose]();
    const findings = [];
    for await (const { subject } of larder.check({ deep: true })) findings.push(subject);
    assert.deepEqual(findings, []);
  } finally {
    removeDirectory(root);
  }
});
