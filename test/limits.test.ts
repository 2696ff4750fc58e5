/** Every row of the table of limits in docs/security.md: what goes beyond ends with that error, and says so. */
import assert from 'node:assert/strict';
import { readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { configOf, parseFlags } from '../src/config.js';
import { DEFAULT_MAX_BYTES, writeErofs } from '../src/erofs/write-erofs.js';
import { isLarderError, type LarderError } from '../src/errors.js';
import { mergeTask } from '../src/layers/merge-task.js';
import { fetchBlob } from '../src/registry/fetch-blob.js';
import { RegistryClient } from '../src/registry/registry-client.js';
import { MAX_APPC_MANIFEST_BYTES, parseAppcManifest } from '../src/spec/appc-manifest.js';
import { digestOf, parseDiffId } from '../src/spec/digest.js';
import { parseSavedImages } from '../src/spec/docker-archive.js';
import { MAX_CONFIG_BYTES, parseImageConfig } from '../src/spec/image-config.js';
import { MAX_MANIFEST_BYTES, parseManifest } from '../src/spec/manifest.js';
import { parseReference } from '../src/spec/reference.js';
import { diskSpace, requireFit } from '../src/store/docker/disk-need.js';
import { openInflater } from '../src/tar/compression.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits, refuseBomb } from '../src/tar/entry.js';
import { TarReader } from '../src/tar/reader.js';
import { type RegistryFault, startRegistry } from '../src/testing/fake-registry.js';
import { buildImage, buildIndex } from '../src/testing/image-builder.js';
import { dir, file, paxHeader, sparse, symlink, tar } from '../src/testing/tar-builder.js';
import { ImageFs } from '../src/tree/image-fs.js';
import { IndexBuilder } from '../src/tree/index-builder.js';
import { mergeLayers } from '../src/tree/merge.js';
import { CHECKOUT } from './checkout.js';

interface Row {
  readonly limit: string;
  readonly by: string;
  readonly standard: string;
  readonly code: string;
  readonly says: RegExp;
}

/** The table's rows; `N` in a message is any number. */
function documentedLimits(): Row[] {
  const page = readFileSync(join(CHECKOUT, 'docs', 'security.md'), 'utf8');
  const rows = page.matchAll(/^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| `(LARDER_[A-Z_]+)` \| `([^|`]+)` \|$/gm);
  return [...rows].map(([, limit = '', by = '', standard = '', code = '', says = '']) => ({
    limit,
    by,
    standard,
    code,
    says: new RegExp(says.replace(/[.*+?()[\]]/g, '\\$&').replace(/\bN\b/g, '\\d+')),
  }));
}

const IMAGE = buildImage({ layers: [{ tar: tar([file('a', 'x'.repeat(5000))]), compression: 'none' }] });
const LAYER = Buffer.from(IMAGE.layers[0]?.blob ?? '');
const cleanups: (() => Promise<void>)[] = [];
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

const RUNS = [
  70_000,
  Array.from({ length: 60 }, (_, i) => ({ offset: i * 1024, data: Buffer.alloc(512, 1) })),
] as const;

const CASES: Readonly<Record<string, () => unknown>> = {
  'bytes of a layer, uncompressed': () => indexed([file('a', 'x'.repeat(2000))], { maxTarBytes: 1024 }),
  'what a compressed layer grows to, beyond 1 GiB': () => refuseBomb('read', 2 ** 20, 2 ** 31, DEFAULT_LAYER_LIMITS),
  'entries of a layer': () => indexed([file('a'), file('b')], { maxEntries: 1 }),
  'free space that a pull leaves': () => requireFit({ atLeastBytes: 10 }, { freeBytes: 11, reservedBytes: 5 }, 'pull'),
  'bytes of a path in a layer': () => indexed([file(`${'long-name/'.repeat(41)}f`)], { maxPathBytes: 400 }),
  'depth of a path in a layer': () => indexed([file(`${'d/'.repeat(256)}f`)]),
  'bytes of one name': () => indexed([file('n'.repeat(256))]),
  'bytes of a symlink’s target': () => indexed([symlink('s', 't'.repeat(4096))]),
  'bytes of a pax or GNU extension header': () => indexed([paxHeader({ comment: 'x'.repeat(2 ** 20) }), file('a')]),
  'bytes of an xattr’s name': () => indexed([file('a', '', { xattrs: { [`user.${'n'.repeat(251)}`]: 'v' } })]),
  'bytes of an xattr’s value': () => indexed([file('a', '', { xattrs: { 'user.a': Buffer.alloc(65_536, 1) } })]),
  'xattrs of one file, all together': () =>
    indexed([
      file('a', '', {
        // With their names and what EROFS adds to each: a byte too many.
        xattrs: Object.fromEntries([0, 0, 0, 1].map((more, n) => [`user.${n}`, Buffer.alloc(65_486 + more, n)])),
      }),
    ]),
  'bytes of a sparse file’s map in a header': () => indexed([sparse('s', ...RUNS, '0.1')], { maxExtensionBytes: 300 }),
  'bytes of a sparse file’s map before its content': () =>
    indexed([sparse('s', ...RUNS, '1.0')], { maxExtensionBytes: 300 }),
  'bytes of the names of one file’s xattrs': () => {
    const names = Array.from({ length: 256 }, (_, n) => `user.${String(n).padStart(250, 'n')}`).concat('user.more');
    return indexed([file('a', '', { xattrs: Object.fromEntries(names.map((name) => [name, ''])) })]);
  },
  'depth of a merged tree, symlinks followed': () => {
    const step = `${'d/'.repeat(200)}d`;
    const links = [1, 2, 3, 4, 5, 6].map((n) => symlink(`l${n}`, n === 1 ? step : `l${n - 1}/${step}`));
    return mergeLayers([indexed([...links, file('l6/f')])]);
  },
  'links that lead to links in one path': () => {
    const links = Array.from({ length: 41 }, (_, n) => symlink(`l${n}`, n === 0 ? 'd' : `l${n - 1}`));
    return mergeLayers([indexed([dir('d'), ...links, file('l40/f')])]);
  },
  'memory of a zstd decoder': async () => {
    // One raw block of a byte in a frame that asks for 2^31 bytes (RFC 8878, 3.1.1.1).
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, (31 - 10) << 3, 0x09, 0, 0, 0x78]);
    return inflated('zstd', frame);
  },
  'memory of an xz decoder': () => inflated('xz', XZ_OF_1_GIB),
  'layers of an image': () => {
    const { layers, ...manifest } = JSON.parse(Buffer.from(IMAGE.manifest).toString()) as { layers: unknown[] };
    return parseManifest(json({ ...manifest, layers: Array.from({ length: 501 }, () => layers[0]) }));
  },
  'indexes of an image’s layers, all together': () =>
    mergeTask(
      {
        mergedKey: '',
        layers: [
          {
            diffId: parseDiffId(digestOf(LAYER)),
            rootfs: undefined,
            index: { path: '/x', size: 2 ** 30 + 1, sha256: '' },
            extra: undefined,
          },
        ],
      },
      { signal: new AbortController().signal, send: () => {}, ask: assert.fail },
    ),
  'bytes of an EROFS metadata image': () =>
    writeErofs(mergeLayers([indexed([file('a')])]), { uuid: Buffer.alloc(16, 1), maxBytes: 512 }),
  'bytes of a manifest or image index': () => parseManifest(Buffer.alloc(MAX_MANIFEST_BYTES + 1, ' ')),
  'bytes of a config': () => parseImageConfig(Buffer.alloc(MAX_CONFIG_BYTES + 1, ' ')),
  'entries of a config’s history': () =>
    parseImageConfig(
      json({
        rootfs: { type: 'layers', diff_ids: [digestOf(LAYER)] },
        history: Array.from({ length: 10_001 }, () => ({})),
      }),
    ),
  'depth of JSON': () => parseManifest(Buffer.from('['.repeat(65))),
  'entries of an image index': () => {
    const { manifests, ...index } = JSON.parse(Buffer.from(buildIndex([IMAGE]).manifest).toString()) as {
      manifests: unknown[];
    };
    return parseManifest(json({ ...index, manifests: Array.from({ length: 1001 }, () => manifests[0]) }));
  },
  'bytes of an Appc manifest': () => parseAppcManifest(Buffer.alloc(MAX_APPC_MANIFEST_BYTES + 1, ' ')),
  'dependencies of an Appc image': () => {
    const dependencies = Array.from({ length: 257 }, () => ({ imageName: 'a.example/b' }));
    return parseAppcManifest(json({ acKind: 'ImageManifest', acVersion: '0.8.11', name: 'a.example/c', dependencies }));
  },
  'images in a `docker save` archive': () =>
    parseSavedImages(json(Array.from({ length: 1001 }, () => ({ Config: 'c', Layers: [] }))), 'read'),
  'characters of a reference': () => parseReference('a'.repeat(1025)),
  'characters of a repository’s name': () => parseReference('a'.repeat(256)),
  'bytes of an answer’s head': () => asked({ kind: 'headers', headers: { 'x-long': 'x'.repeat(20_000) } }),
  'redirects of one request': () => asked({ kind: 'redirect', location: '/v2/team/app/manifests/again' }),
  'time without a byte': () => asked({ kind: 'stall', after: 10 }),
  'a pause that a registry asks for': () => asked({ kind: 'status', status: 429, headers: { 'retry-after': '61' } }),
  'bytes of a blob': () => asked({ kind: 'longer' }, true),
  'bytes of a file read whole through `image.fs`': async () => {
    const index = indexed([sparse('a', 2 ** 26 + 1, [{ offset: 0, data: Buffer.alloc(512, 1) }])]);
    const fs = new ImageFs(mergeLayers([index]), { openData: () => Promise.reject(new Error('read')) });
    return fs.readFile('/a');
  },
};

/** Of those whose case has a limit of its own, or whose message does not say it. */
const DEFAULTS: Readonly<Record<string, number | undefined>> = {
  'bytes of a layer, uncompressed': DEFAULT_LAYER_LIMITS.maxTarBytes,
  'entries of a layer': DEFAULT_LAYER_LIMITS.maxEntries,
  'bytes of a path in a layer': DEFAULT_LAYER_LIMITS.maxPathBytes,
  'bytes of a sparse file’s map in a header': DEFAULT_LAYER_LIMITS.maxExtensionBytes,
  'bytes of a sparse file’s map before its content': DEFAULT_LAYER_LIMITS.maxExtensionBytes,
  'bytes of an EROFS metadata image': DEFAULT_MAX_BYTES,
  'time without a byte': configOf(parseFlags({ root: '/x' }, 'test')).stallTimeoutMs,
  // Their cases are the first beyond.
  'bytes of an xattr’s name': 255,
  'bytes of an xattr’s value': 65_535,
  'xattrs of one file, all together': 262_000,
  'links that lead to links in one path': 40,
  'a pause that a registry asks for': 60,
};

for (const { limit, code, says, standard } of documentedLimits()) {
  it(`${limit} end with ${code}`, async () => {
    const beyond = CASES[limit.replaceAll("'", '’')];
    assert.ok(beyond !== undefined, 'a row without a case');
    const error = await failureOf(beyond);
    assert.ok(isLarderError(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
    const wanted = numberOf(standard);
    if (wanted === undefined) return;
    const own = DEFAULTS[limit.replaceAll("'", '’')];
    if (own !== undefined) assert.equal(own, wanted);
    else assert.ok(numbersIn(error.message).includes(wanted), `${wanted}: ${error.message}`);
  });
}

it('of the free space a hundredth stays, at most 64 MiB, and beyond 1 GiB the ratio counts', async () => {
  const { bsize, blocks } = statfsSync('/');
  const { reservedBytes } = await diskSpace('/', undefined);
  assert.equal(reservedBytes, Math.min(2 ** 26, Math.floor((bsize * blocks) / 100)));
  refuseBomb('read', 1, 2 ** 30, DEFAULT_LAYER_LIMITS);
  assert.throws(() => refuseBomb('read', 1, 2 ** 30 + 1, DEFAULT_LAYER_LIMITS));
});

it('every case has its row, and every setting of a row is one', () => {
  const rows = documentedLimits();
  assert.deepEqual(rows.map(({ limit }) => limit.replaceAll("'", '’')).sort(), Object.keys(CASES).sort());
  for (const { by } of rows) {
    const [, name] = /^`([a-z]+_[a-z_]+)`$/.exec(by) ?? [];
    if (name !== undefined) parseFlags({ [name]: 1 }, 'test');
  }
});

it('what a user may raise, the hint names', () => {
  for (const [limits, setting] of [
    [{ maxEntries: 1 }, 'max_layer_entries'],
    [{ maxTarBytes: 1024 }, 'max_layer_bytes'],
  ] as const) {
    assert.throws(
      () => indexed([file('a'), file('b', 'x'.repeat(2000))], limits),
      (error: LarderError) => {
        assert.match(error.hint ?? '', new RegExp(setting));
        return true;
      },
    );
  }
});

const UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, s: 1, min: 60_000 };

/** `256 GiB`, `2,000,000`, `1100 times`; undefined where there is no single one. */
function numberOf(text: string): number | undefined {
  const [, digits, unit = ''] = /^([\d,]+)(?: (KiB|MiB|GiB|s|min|times))?$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits.replaceAll(',', '')) * (UNITS[unit] ?? 1);
}

function numbersIn(message: string): number[] {
  return [...message.matchAll(/(\d+)( MiB)?/g)].map(([, digits, unit]) => Number(digits) * (unit ? 2 ** 20 : 1));
}

async function failureOf(work: () => unknown): Promise<unknown> {
  try {
    await work();
    return new Error('it was taken');
  } catch (error) {
    return error;
  }
}

function indexed(entries: readonly Buffer[], limits: Partial<LayerLimits> = {}) {
  const all = { ...DEFAULT_LAYER_LIMITS, ...limits };
  const builder = new IndexBuilder(all);
  const reader = new TarReader(builder, all);
  const archive = tar(entries);
  reader.write(archive);
  reader.end();
  return builder.finish(archive.length).index;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

async function inflated(compression: 'zstd' | 'xz', bytes: Buffer): Promise<void> {
  const inflater = await openInflater(compression);
  try {
    await inflater.write(bytes, () => {});
    await inflater.end(() => {});
  } finally {
    inflater.close();
  }
}

/** `printf x | xz --format=xz --check=none --lzma2=dict=1GiB`. */
const XZ_OF_1_GIB = Buffer.from('/Td6WFoAAAD/EtlBAgAhASQAAABeH8f5AQAAeAAAAAAAAREBraZYBAZynnoBAAAAAABZWg==', 'base64');

async function asked(fault: RegistryFault, blob = false): Promise<unknown> {
  const registry = await startRegistry({
    images: [{ name: 'team/app', manifest: IMAGE.manifest, mediaType: IMAGE.mediaType, blobs: IMAGE.blobs }],
    fault: ({ url }) => (/manifests|blobs/.test(url) ? fault : undefined),
  });
  cleanups.push(() => registry.close());
  const reference = parseReference(`${registry.host}/team/app`);
  const client = new RegistryClient({ timeouts: { backoffMs: 1, stallMs: 200, connectMs: 5000 } });
  if (!blob) return client.resolve(reference);
  const broker = client.broker(reference);
  const wanted = { digest: digestOf(LAYER), size: LAYER.length };
  for await (const _ of fetchBlob(wanted, 0, (request) => broker.ask(request)));
  return undefined;
}
