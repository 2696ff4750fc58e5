import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import { Larder } from '../../src/larder.js';
import { stackOf } from '../../src/metadata/records.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { mergedKeyOf } from '../../src/tree/merged-key.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

test('layers that are being looked at by a repair are not pruned under it', async () => {
  const root = makeDirectory();
  await using source = await ImageSource.start();
  source.publish('image', [sampleLayer('below'), sampleLayer('image')]);
  const assembly = await Assembly.open(configOf({ root }));
  const larder = new Larder(assembly);
  try {
    const { merged } = await assembly.working();
    {
      await using image = await larder.pull(source.reference('image'));
      await merged.ensure(stackOf(image.record));
      const path = assembly.layout.merged(mergedKeyOf(stackOf(image.record)));
      chmodSync(path, 0o600);
      writeFileSync(path, 'damaged');
    }
    const real = merged.ensure.bind(merged);
    let pruned = false;
    merged.ensure = async (...how) => {
      pruned = (await larder.prune()).images.length === 1;
      return real(...how);
    };
    const outcomes = [];
    for await (const { what, outcome } of larder.repair()) outcomes.push([what, outcome]);
    assert.equal(pruned, true);
    assert.deepEqual(outcomes, [['derived', 'repaired']]);
    await larder.prune();
    for await (const { subject, message } of larder.check({ deep: true })) assert.fail(`${subject}: ${message}`);
  } finally {
    await larder.close();
    removeDirectory(root);
  }
});
