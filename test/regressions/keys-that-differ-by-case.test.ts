/**
 * Go's encoding/json ignores the case of keys, and of two that it takes for one the last counts: a manifest with `layers`
 * and `Layers` was one image for larder and another one for scanners written in Go.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageConfig } from '../../src/spec/image-config.js';
import { parseManifest } from '../../src/spec/manifest.js';
import { buildImage, buildIndex } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';

const image = buildImage({ layers: [{ tar: sampleLayer('one') }] });
const config = image.blobs
  .map((blob) => Buffer.from(blob).toString('latin1'))
  .find((text) => text.includes('diff_ids'));

for (const [what, from, to] of [
  ['a list of layers', '"layers":', '"Layers":[],"layers":'],
  ['a config', '"config":', '"CONFIG":{},"config":'],
  ['an image index within', '"layers":', '"Manifests":[],"layers":'],
  ['a long s', '"layers":', '"layer\u017f":[],"layers":'],
  ['a digest', '"digest":', '"Digest":"sha256:00","digest":'],
] as const) {
  test(`a manifest with ${what} that only readers see who ignore case is refused`, () => {
    parseManifest(image.manifest);
    const text = Buffer.from(image.manifest).toString().replace(from, to);
    assert.throws(() => parseManifest(Buffer.from(text)), {
      code: 'LARDER_MANIFEST_INVALID',
      message: /other readers/,
    });
  });
}

test('an image index with such a key in an entry is refused', () => {
  const text = Buffer.from(buildIndex([image]).manifest)
    .toString()
    .replace('"size":', '"Size":1,"size":');
  assert.throws(() => parseManifest(Buffer.from(text)), { code: 'LARDER_MANIFEST_INVALID', message: /other readers/ });
});

test('a config with such a list of DiffIDs is refused; what else it has may be called as it likes', () => {
  assert.ok(config !== undefined);
  parseImageConfig(Buffer.from(config.replace('{', '{"Id":"x","id":"y",')));
  for (const [from, to] of [
    ['"diff_ids":', '"Diff_IDs":[],"diff_ids":'],
    ['"rootfs":', '"RootFS":{},"rootfs":'],
  ] as const) {
    const bytes = Buffer.from(config.replace(from, to));
    assert.throws(() => parseImageConfig(bytes), { code: 'LARDER_CONFIG_INVALID', message: /other readers/ });
  }
});
