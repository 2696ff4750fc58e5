import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { digestOf } from '../../src/spec/digest.js';
import { parseImageConfig } from '../../src/spec/image-config.js';
import { buildImage, buildIndex, manifestsOf, writeOciLayout, zstdFrame } from '../../src/testing/image-builder.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';

const LAYER = tar([dir('etc'), file('etc/motd', 'hello\n')]);

function missing(program: string): string | false {
  return spawnSync(program, ['--version']).error === undefined ? false : `needs ${program}`;
}

test('the config names the DiffID of the tar, the manifest the digest of the blob', () => {
  const image = buildImage({ layers: [{ tar: LAYER }], config: { Cmd: ['/x'] } });
  const config = parseImageConfig(image.config);
  assert.deepEqual(config.diffIds, [digestOf(LAYER)]);
  assert.deepEqual(config.config.Cmd, ['/x']);
  const [layer] = image.layers;
  assert.ok(layer);
  assert.deepEqual(gunzipSync(layer.blob), LAYER);
  assert.ok(Buffer.from(image.manifest).includes(digestOf(layer.blob)));
});

test('the same layers make the same image', () => {
  assert.equal(buildImage({ layers: [{ tar: LAYER }] }).digest, buildImage({ layers: [{ tar: LAYER }] }).digest);
});

test('a layer that is there twice is one blob', () => {
  const image = buildImage({ layers: [{ tar: LAYER }, { tar: LAYER }] });
  assert.equal(image.layers.length, 2);
  assert.equal(image.blobs.length, 2);
});

test('lies are told as asked', () => {
  const claimedDiffId = `sha256:${'0'.repeat(64)}`;
  const image = buildImage({ layers: [{ tar: LAYER, claimedDiffId, claimedSize: 7, blob: Buffer.from('short') }] });
  assert.deepEqual(parseImageConfig(image.config).diffIds, [claimedDiffId]);
  assert.match(Buffer.from(image.manifest).toString(), /"size":7\}/);
  assert.deepEqual(image.blobs[1], Buffer.from('short'));
});

test('manifests come in the order in which a registry takes them', () => {
  const [a, b] = ['linux/amd64', 'linux/arm64'].map((platform) => buildImage({ layers: [{ tar: LAYER }], platform }));
  assert.ok(a && b);
  const inner = buildIndex([b]);
  const outer = buildIndex([a, inner]);
  assert.deepEqual(manifestsOf(outer), [a, b, inner, outer]);
});

test('zstd frames are what the zstd program unpacks', { skip: missing('zstd') }, () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(300_000), Buffer.from('ab'.repeat(200_000))]) {
    assert.deepEqual(execFileSync('zstd', ['-dc'], { input: zstdFrame(bytes), maxBuffer: 1 << 24 }), bytes);
  }
});

test('skopeo reads the layout, and copies all blobs of it', { skip: missing('skopeo') }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'larder-layout-'));
  try {
    const image = buildImage({
      layers: [
        { tar: LAYER },
        { tar: tar([file('b', 'b')]), compression: 'zstd' },
        { tar: tar([]), compression: 'none' },
      ],
    });
    writeOciLayout(join(directory, 'a'), { one: image });
    execFileSync('skopeo', ['copy', '-q', '--preserve-digests', `oci:${directory}/a:one`, `oci:${directory}/b:one`]);
    const index = readFileSync(join(directory, 'b', 'index.json'), 'utf8');
    assert.ok(index.includes(image.digest));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
