import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildAci } from '../../src/testing/aci-builder.js';
import { AppcLab } from '../helpers/appc-store.js';

test('small Appc images with large whitelists are refused before their manifests take all memory', async () => {
  await using lab = await AppcLab.start();
  const pathWhitelist = Array.from({ length: 249_000 }, (_, i) => `/${i}`);
  const acis = [1, 2, 3, 4].map((n) =>
    buildAci({ name: `example.com/w${n}`, labels: { version: '1' }, pathWhitelist, files: { a: 'a' } }),
  );
  const dependencies = acis.map(({ name, labels }) => ({ imageName: name, labels }));
  const top = buildAci({ name: 'example.com/top', labels: { version: '1' }, dependencies });
  lab.publish(top, ...acis);
  await assert.rejects(lab.get(top), { code: 'LARDER_LAYER_LIMIT', message: /manifests and whitelists .* too large/ });
});
