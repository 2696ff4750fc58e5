import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digestOf } from '../../src/spec/digest.js';
import { checkDiffIds, parseImageConfig } from '../../src/spec/image-config.js';
import { MAX_INDEX_ENTRIES, MAX_LAYERS, parseManifest } from '../../src/spec/manifest.js';
import {
  DOCKER_CONFIG,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from '../../src/spec/media-types.js';
import { parsePlatform, selectPlatform } from '../../src/spec/platform.js';

type Json = Record<string, unknown>;

const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';
const digest = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`;
const blob = (mediaType: string, n: number, more: Json = {}): Json => ({
  mediaType,
  digest: digest(n),
  size: n,
  ...more,
});
const manifest = (more: Json = {}): Json => ({
  schemaVersion: 2,
  mediaType: OCI_MANIFEST,
  config: blob(OCI_CONFIG, 1),
  layers: [blob(GZIP, 2)],
  ...more,
});
const index = (more: Json = {}): Json => ({
  schemaVersion: 2,
  mediaType: OCI_INDEX,
  manifests: [blob(OCI_MANIFEST, 3)],
  ...more,
});
const parse = (document: unknown, type?: string) => parseManifest(Buffer.from(JSON.stringify(document)), type);
const without = (document: Json, key: string): Json =>
  Object.fromEntries(Object.entries(document).filter(([k]) => k !== key));

describe('a manifest', () => {
  it('is parsed with its layers in order', () => {
    const parsed = parse(
      manifest({ layers: [blob(GZIP, 5), blob('application/vnd.docker.image.rootfs.diff.tar.gzip', 6)] }),
    );
    assert.equal(parsed.kind, 'manifest');
    if (parsed.kind !== 'manifest') return;
    assert.deepEqual(
      parsed.layers.map(({ size, compression }) => [size, compression]),
      [
        [5, 'gzip'],
        [6, 'gzip'],
      ],
    );
    assert.equal(parsed.config.digest, digest(1));
  });

  it('may leave its media type to the Content-Type, with parameters', () => {
    const document = without(manifest({ config: blob(DOCKER_CONFIG, 1) }), 'mediaType');
    assert.equal(parse(document, `${DOCKER_MANIFEST}; charset=utf-8`).mediaType, DOCKER_MANIFEST);
    assert.equal(parse(document, 'application/json').mediaType, OCI_MANIFEST);
    assert.equal(parse(without(index(), 'mediaType')).mediaType, OCI_INDEX);
  });

  it('may name the same layer several times', () => {
    const parsed = parse(manifest({ layers: Array.from({ length: 5 }, () => blob(GZIP, 2)) }));
    assert.equal(parsed.kind === 'manifest' && parsed.layers.length, 5);
  });

  it('may have a sha512 digest, zstd:chunked annotations and unknown fields', () => {
    const layer = {
      mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
      digest: `sha512:${'b'.repeat(128)}`,
      size: 4,
      annotations: { 'io.github.containers.zstd-chunked.manifest-checksum': 'sha256:x' },
      urls: ['http://evil.example/'],
      zzz: null,
    };
    const parsed = parse(manifest({ layers: [layer], annotations: { a: 'b' }, subject: null }));
    assert.equal(parsed.kind === 'manifest' && parsed.layers[0]?.compression, 'zstd');
  });

  const invalid: Readonly<Record<string, readonly [unknown, string?]>> = {
    'is a list': [[]],
    'is null': [null],
    'has a Content-Type that disagrees': [manifest(), OCI_INDEX],
    'is an index that was served as a manifest': [index(), OCI_MANIFEST],
    'is also an index': [manifest({ manifests: [] })],
    'is an index with layers': [index({ layers: [] })],
    'is an index with a config': [index({ config: blob(OCI_CONFIG, 1) })],
    'has members of schema 1': [manifest({ fsLayers: [], history: [] })],
    'has no schemaVersion': [without(manifest(), 'schemaVersion')],
    'has schemaVersion 3': [manifest({ schemaVersion: 3 })],
    'has no layers': [manifest({ layers: [] })],
    'has no config': [without(manifest(), 'config')],
    'has too many layers': [manifest({ layers: Array.from({ length: MAX_LAYERS + 1 }, () => blob(GZIP, 2)) })],
    'is an index with too many entries': [
      index({ manifests: Array.from({ length: MAX_INDEX_ENTRIES + 1 }, () => blob(OCI_MANIFEST, 3)) }),
    ],
    'has its config among the layers': [manifest({ layers: [blob(GZIP, 1)] })],
    'embeds other data than its digest says': [
      manifest({ config: { mediaType: OCI_CONFIG, digest: digestOf(Buffer.from('{}')), size: 2, data: 'e30K' } }),
    ],
  };
  for (const [what, [document, type]] of Object.entries(invalid)) {
    it(`that ${what} is refused`, () => {
      assert.throws(() => parse(document, type), { code: 'LARDER_MANIFEST_INVALID' });
    });
  }

  it('may embed the data that its digest says', () => {
    const config = { mediaType: OCI_CONFIG, digest: digestOf(Buffer.from('{}')), size: 2, data: 'e30=' };
    assert.equal(parse(manifest({ config })).kind, 'manifest');
  });

  const badDigests = [
    'sha256:../../x',
    'sha256:',
    `sha256:${'A'.repeat(64)}`,
    `md5:${'a'.repeat(32)}`,
    `sha1:${'a'.repeat(40)}`,
  ];
  for (const bad of [
    ...badDigests,
    `sha256:${'a'.repeat(63)}`,
    `sha256:${'a'.repeat(65)}`,
    `sha256:${'а'.repeat(64)}`,
  ]) {
    it(`with the digest ${bad.slice(0, 30)} (${bad.length}) is refused`, () => {
      assert.throws(() => parse(manifest({ layers: [{ mediaType: GZIP, digest: bad, size: 1 }] })), {
        code: 'LARDER_MANIFEST_INVALID',
        message: /layers\.0\.digest/,
      });
    });
  }

  for (const size of ['-1', '1.5', '9007199254740993', '1e400', '"5"', 'null']) {
    it(`with the size ${size} is refused`, () => {
      const text = JSON.stringify(manifest()).replace('"size":2', `"size":${size}`);
      assert.throws(() => parseManifest(Buffer.from(text)), {
        code: 'LARDER_MANIFEST_INVALID',
        message: /layers\.0\.size/,
      });
    });
  }

  it('with a key twice is refused', () => {
    const text = JSON.stringify(manifest()).replace(/}$/, ',"layers":[]}');
    assert.throws(() => parseManifest(Buffer.from(text)), {
      code: 'LARDER_MANIFEST_INVALID',
      message: /"layers" twice/,
    });
  });

  it('of 5 MiB is refused', () => {
    assert.throws(() => parse(manifest({ annotations: { a: 'x'.repeat(5 << 20) } })), {
      code: 'LARDER_MANIFEST_INVALID',
    });
  });

  const unsupported: Readonly<Record<string, readonly [unknown, string?]>> = {
    'schema 1': [
      { schemaVersion: 1, fsLayers: [], history: [] },
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
    ],
    'schema 1 with layers': [manifest({ schemaVersion: 1 })],
    'an artifact': [manifest({ config: blob('application/vnd.oci.empty.v1+json', 1), artifactType: 'application/x' })],
    'a Helm chart': [manifest({ config: blob('application/vnd.cncf.helm.config.v1+json', 1) })],
    'an artifact manifest': [{ schemaVersion: 2, mediaType: 'application/vnd.oci.artifact.manifest.v1+json' }],
    'an encrypted layer': [manifest({ layers: [blob(`${GZIP}+encrypted`, 2)] })],
    'an encrypted foreign layer': [
      manifest({ layers: [blob('application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted', 2)] }),
    ],
    'an artifact of artifactType alone': [
      manifest({ config: blob('application/vnd.oci.empty.v1+json', 2), artifactType: 'application/x', layers: [] }),
    ],
    'an image index of artifacts': [
      { schemaVersion: 2, mediaType: OCI_INDEX, artifactType: 'application/x', manifests: [] },
    ],
    'an EROFS layer': [manifest({ layers: [blob('application/vnd.erofs.layer.v1', 2)] })],
    'a squashfs layer': [manifest({ layers: [blob('application/vnd.squashfs', 2)] })],
    'a layer of a type named like a method': [manifest({ layers: [blob('constructor', 2)] })],
  };
  for (const [what, [document, type]] of Object.entries(unsupported)) {
    it(`of ${what} is refused as not supported`, () => {
      assert.throws(() => parse(document, type), { code: 'LARDER_MEDIA_TYPE_UNSUPPORTED' });
    });
  }
});

describe('a foreign layer', () => {
  const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
  const layersOf = (layers: readonly Json[]) => {
    const parsed = parse(manifest({ layers }));
    return parsed.kind === 'manifest' ? parsed.layers : [];
  };

  it('is a layer like any other, with where it is said to be', () => {
    const urls = ['https://example.com/layer'];
    const [layer] = layersOf([blob(FOREIGN, 2, { urls })]);
    assert.equal(layer?.compression, 'gzip');
    assert.deepEqual(layer?.urls, urls);
    assert.deepEqual(layersOf([blob('application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', 2)])[0]?.urls, []);
  });

  it('is the only one whose addresses are looked at', () => {
    assert.equal(layersOf([blob(GZIP, 2, { urls: ['https://example.com/layer'] })])[0]?.urls, undefined);
  });

  it('with thousands of addresses is refused', () => {
    const urls = Array.from({ length: 1000 }, () => 'https://example.com/');
    assert.throws(() => layersOf([blob(FOREIGN, 2, { urls })]), { code: 'LARDER_MANIFEST_INVALID' });
  });
});

describe('an image index', () => {
  it('gives the manifest for a platform, whatever else it lists', () => {
    const entry = (n: number, os: string, architecture: string): Json =>
      blob(DOCKER_MANIFEST, n, { platform: { os, architecture } });
    const manifests = [
      entry(1, 'unknown', 'unknown'),
      entry(2, 'linux', 'arm64'),
      entry(3, 'linux', 'amd64'),
      blob(OCI_INDEX, 4),
    ];
    const parsed = parse(index({ mediaType: DOCKER_LIST, manifests }), DOCKER_LIST);
    assert.equal(parsed.kind, 'index');
    if (parsed.kind !== 'index') return;
    assert.equal(selectPlatform(parsed.manifests, parsePlatform('linux/amd64'), 'test').size, 3);
  });
});

describe('a config and its manifest', () => {
  it('must agree on the number of layers', () => {
    const image = parseImageConfig(
      Buffer.from(JSON.stringify({ rootfs: { type: 'layers', diff_ids: [digest(1), digest(2)] } })),
    );
    const parsed = parse(manifest());
    assert.equal(parsed.kind, 'manifest');
    if (parsed.kind !== 'manifest') return;
    assert.throws(() => checkDiffIds(parsed, image), {
      code: 'LARDER_MANIFEST_INVALID',
      message: /has 1 layers but the config names 2/,
    });
  });
});
