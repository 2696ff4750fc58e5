/** Mesos's cases of schema 1, which its own images of gcr.io and quay.io had. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSchema1 } from '../../src/spec/manifest-v1.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { buildSchema1Image, type Schema1Document, type Schema1Options } from '../../src/testing/schema1-builder.js';

function built(edit?: (document: Schema1Document) => object, options: Partial<Schema1Options> = {}): Uint8Array {
  const layers = [{ tar: sampleLayer('base') }, 'empty', { tar: sampleLayer('top') }] as const;
  return buildSchema1Image({ layers, ...options, ...(edit === undefined ? {} : { edit }) }).manifest;
}

describe('a schema 1 manifest', () => {
  test('DockerSpecTest.ParseV2ImageManifest: with signatures it has its layers base first, and each step’s v1 image', () => {
    const parsed = parseSchema1(built(undefined, { name: 'library/busybox', tag: 'latest', config: { Cmd: ['sh'] } }));
    assert.deepEqual([parsed.name, parsed.tag, parsed.steps.length], ['library/busybox', 'latest', 3]);
    assert.deepEqual(
      parsed.steps.map(({ layer }) => layer !== undefined),
      [true, false, true],
    );
    assert.match(Buffer.from(parsed.steps.at(-1)?.v1 ?? []).toString(), /"Cmd":\["sh"\]/);
  });

  const lies: Readonly<Record<string, (document: Schema1Document) => object>> = {
    'DockerSpecTest.ParseInvalidV2ImageManifest': ({ name: _, ...document }) => document,
    'DockerSpecTest.ValidateV2ImageManifestFsLayersNonEmpty': (document) => ({ ...document, fsLayers: [] }),
    // It is refused for what it really lacks, as in Mesos.
    'DockerSpecTest.ValidateV2ImageManifestSignaturesNonEmpty': ({ history: _, ...document }) => document,
  };
  for (const [name, edit] of Object.entries(lies)) {
    test(`${name}: is refused`, () => {
      assert.throws(() => parseSchema1(built(edit)), { code: 'LARDER_MANIFEST_INVALID' });
      assert.throws(() => parseSchema1(built(edit, { signed: false })), { code: 'LARDER_MANIFEST_INVALID' });
    });
  }

  test('flaw 4: with a v1 object in its history, which ended Mesos’s agent, is what it is without', () => {
    const planted = built((document) => ({
      ...document,
      history: document.history.map((step) => ({ ...step, v1: { id: 'planted' } })),
    }));
    const [{ steps }, plain] = [parseSchema1(planted), parseSchema1(built())];
    assert.deepEqual(steps, plain.steps);
  });
});
