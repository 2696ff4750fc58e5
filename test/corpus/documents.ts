/** Manifests, indexes and configs that lie, are too large, or are not what they say. */
import type { ErrorCode } from '../../src/errors.js';
import { digestOf } from '../../src/spec/digest.js';
import { OCI_CONFIG, OCI_INDEX, OCI_MANIFEST } from '../../src/spec/media-types.js';
import { buildImage, buildIndex } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import type { DocumentCase, Documents, ReferenceCase } from './case.js';

type Json = Record<string, unknown>;

const MANIFEST = 'LARDER_MANIFEST_INVALID';
const CONFIG = 'LARDER_CONFIG_INVALID';
const UNSUPPORTED = 'LARDER_MEDIA_TYPE_UNSUPPORTED';

const base = buildImage({ layers: [{ tar: sampleLayer('documents'), compression: 'none' }] });
const parsed = JSON.parse(Buffer.from(base.manifest).toString()) as Json & { config: Json; layers: [Json] };
const parsedConfig = JSON.parse(Buffer.from(base.config).toString()) as Json;
const json = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const text = JSON.stringify(parsed);

/** The base's manifest with other fields, or other bytes. */
function manifest(change: Json | Buffer, mediaType: string = OCI_MANIFEST): Documents {
  return { manifest: change instanceof Buffer ? change : json({ ...parsed, ...change }), mediaType, blobs: base.blobs };
}

function layer(change: Json): Documents {
  return manifest({ layers: [{ ...parsed.layers[0], ...change }] });
}

/** The base's config with other fields, or other bytes, under its right digest. */
function config(change: Json | Buffer, mediaType: string = OCI_CONFIG): Documents {
  const bytes = change instanceof Buffer ? change : json({ ...parsedConfig, ...change });
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { manifest: json({ ...parsed, config: descriptor }), mediaType: OCI_MANIFEST, blobs: [...base.blobs, bytes] };
}

function index(manifests: readonly unknown[]): Documents {
  const bytes = json({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  return { manifest: bytes, mediaType: OCI_INDEX, blobs: base.blobs, manifests: [base] };
}

const entry = { mediaType: OCI_MANIFEST, digest: base.digest, size: base.manifest.length };

function nested(depth: number): Documents {
  const all = [];
  let top = buildIndex([base]);
  for (let i = 1; i < depth; i++) {
    all.push(top);
    top = buildIndex([top]);
  }
  return { manifest: top.manifest, mediaType: top.mediaType, blobs: base.blobs, manifests: [base, ...all] };
}

const refused = (
  id: string,
  what: string,
  code: ErrorCode,
  image: () => Documents,
  by: DocumentCase['by'] = {},
): DocumentCase => ({ id, what, image, refused: code, by });
/** Archives look at sizes before they read. */
const TOO_LARGE = { oci: 'LARDER_ARCHIVE_INVALID', 'oci-archive': 'LARDER_ARCHIVE_INVALID' } as const;
const legal = (id: string, what: string, image: () => Documents): DocumentCase => ({ id, what, image });

const size = (value: string) => () => manifest(json(text.replace(/"size":\d+(?=}])/, `"size":${value}`)));

export const documentCases: readonly DocumentCase[] = [
  refused(
    'M01',
    'a manifest of 5 MiB',
    MANIFEST,
    () => manifest({ annotations: { a: 'x'.repeat(5 << 20) } }),
    TOO_LARGE,
  ),
  refused(
    'M02',
    'an index of 5 MiB',
    MANIFEST,
    () => index([{ ...entry, annotations: { a: 'x'.repeat(5 << 20) } }]),
    TOO_LARGE,
  ),
  refused('M03', 'a config of 5 MiB', CONFIG, () => config({ author: 'x'.repeat(5 << 20) }), TOO_LARGE),
  refused('M06', 'a manifest nested 100,000 deep', MANIFEST, () =>
    manifest(json(text.replace(/}$/, `,"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`))),
  ),
  refused('M07', 'no layers', MANIFEST, () => manifest({ layers: [] })),
  refused('M08', '501 layers', MANIFEST, () =>
    manifest({ layers: Array.from({ length: 501 }, () => parsed.layers[0]) }),
  ),
  refused('M09', 'an index of 10,000', MANIFEST, () => index(Array.from({ length: 10_000 }, () => entry))),
  legal('M10', 'an index in an index', () => nested(2)),
  refused('M10', 'an index ten deep', MANIFEST, () => nested(10)),
  legal('M11', 'annotations of 1 MiB', () => manifest({ annotations: { a: 'x'.repeat(1 << 20) } })),
  ...(
    [
      ['M12', 'sha256:../../../../../../etc/passwd'],
      ['M13', 'sha256:'],
      ['M14', `sha256:${'A'.repeat(64)}`],
      ['M16', `md5:${'a'.repeat(32)}`],
      ['M16', `sha1:${'a'.repeat(40)}`],
      ['M17', `sha256:${'\u0430'.repeat(64)}`],
      ['M18', `sha256:${'a'.repeat(63)}`],
      ['M18', `sha256:${'a'.repeat(65)}`],
    ] as const
  ).map(([id, digest]) =>
    refused(id, `the digest ${digest.slice(0, 40)} of ${digest.length}`, MANIFEST, () => layer({ digest })),
  ),
  refused('M21', 'the DiffID of other bytes', 'LARDER_DIFF_ID_MISMATCH', () =>
    config({ rootfs: { type: 'layers', diff_ids: [digestOf(sampleLayer('other'))] } }),
  ),
  refused('M23', 'a manifest that is an index too', MANIFEST, () => manifest({ manifests: [entry] })),
  refused('M24', 'an index that is announced as a manifest', MANIFEST, () => ({
    ...index([entry]),
    mediaType: OCI_MANIFEST,
  })),
  legal('M25', 'no media type within', () => manifest({ mediaType: undefined })),
  refused('M26', 'schema 1 with layers', UNSUPPORTED, () => manifest({ schemaVersion: 1 })),
  refused('M27', 'an artifact', UNSUPPORTED, () =>
    manifest({
      artifactType: 'application/x',
      config: { ...parsed.config, mediaType: 'application/vnd.oci.empty.v1+json' },
    }),
  ),
  refused('M28', 'layers twice', MANIFEST, () => manifest(json(text.replace(/}$/, ',"layers":[]}')))),
  refused('M29', 'a key that would change all objects', MANIFEST, () =>
    manifest(json(text.replace(/}$/, ',"__proto__":{"polluted":1}}'))),
  ),
  refused('M30', 'a byte order mark', MANIFEST, () => manifest(json(`\ufeff${text}`))),
  refused('M30', 'UTF-16', MANIFEST, () => manifest(Buffer.from(text, 'utf16le'))),
  refused('M30', 'a trailing comma', MANIFEST, () => manifest(json(text.replace(/}$/, ',}')))),
  refused('M34', 'a size of -1', MANIFEST, size('-1')),
  refused('M35', 'a size of 1.5', MANIFEST, size('1.5')),
  refused('M36', 'a size of 2^53 + 1', MANIFEST, size('9007199254740993')),
  refused('M37', 'a size of 1e400', MANIFEST, size('1e400')),
  refused('M38', 'a size that is too large', 'LARDER_SIZE_MISMATCH', () => layer({ size: 999_999 })),
  refused('M38', 'a size that is too small', 'LARDER_SIZE_MISMATCH', () => layer({ size: 10 })),
  refused('M39', 'a wrong DiffID', 'LARDER_DIFF_ID_MISMATCH', () =>
    config({ rootfs: { type: 'layers', diff_ids: [`sha256:${'a'.repeat(64)}`] } }),
  ),
  legal('M40', 'annotations of a format with chunks', () =>
    layer({ annotations: { 'io.github.containers.zstd-chunked.manifest-checksum': 'sha256:x' } }),
  ),
  refused('M41', 'a config that names more layers', MANIFEST, () =>
    config({ rootfs: { type: 'layers', diff_ids: [1, 2].map((n) => `sha256:${String(n).repeat(64)}`) } }),
  ),
  legal('M42', 'one layer five times', () => {
    const {
      manifest: bytes,
      mediaType,
      blobs,
    } = buildImage({
      layers: Array.from({ length: 5 }, () => ({ tar: sampleLayer('five'), compression: 'none' as const })),
    });
    return { manifest: bytes, mediaType, blobs };
  }),
  refused('M43', 'a tar that is said to be gzip', 'LARDER_LAYER_INVALID', () =>
    layer({ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' }),
  ),
  ...[
    'application/vnd.erofs.layer.v1',
    'application/vnd.squashfs',
    'application/vnd.oci.image.layer.v1.tar+encrypted',
  ].map((mediaType) => refused('M44', `a layer of ${mediaType}`, UNSUPPORTED, () => layer({ mediaType }))),
  refused('M49', 'no platform that fits', 'LARDER_PLATFORM_NOT_FOUND', () =>
    index(['windows', 'plan9'].map((os) => ({ ...entry, platform: { os, architecture: 'amd64' } }))),
  ),
  refused('M50', 'a config that is no JSON', CONFIG, () => config(json('no JSON'))),
  refused('M50', 'a layer for a config', MANIFEST, () =>
    manifest({ config: { ...parsed.layers[0], mediaType: OCI_CONFIG } }),
  ),
  refused('M50', 'the manifest itself for a layer', 'LARDER_BLOB_NOT_FOUND', () =>
    layer({ digest: digestOf(json('a manifest cannot hold its own digest')) }),
  ),
  refused('M51', 'data in the manifest that its digest does not fit', MANIFEST, () =>
    manifest({ config: { ...parsed.config, data: 'e30K' } }),
  ),
  refused('M52', 'an empty config', UNSUPPORTED, () => config(json('{}'), 'application/vnd.oci.empty.v1+json')),
];

const REFERENCE = 'LARDER_REFERENCE_INVALID';

export const referenceCases: readonly ReferenceCase[] = [
  ['M45', 'host@evil.example/x'],
  ['M46', 'registry:99999/x'],
  ['M47', `registry.example/${'n'.repeat(260)}`],
  ['M47', 'registry.example/Upper'],
  ['M47', 'registry.example/a/../b'],
  ['M48', 'r\u00e9gistry.example/x'],
  ['M48', '[::1/x'],
].map(([id = '', reference = '']) => ({
  id,
  what: `the reference ${reference.slice(0, 40)}`,
  reference,
  refused: REFERENCE,
}));
