/** What registries and networks do wrong, and the code that each must end with: cases of the store's suite. */
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import type { ErrorCode } from '../../errors.js';
import type { LarderEvent } from '../../events.js';
import type { RegistryFault } from '../fake-registry.js';
import { buildImage, type LayerSource } from '../image-builder.js';
import { type RequestKind, sampleLayer } from '../image-source.js';
import { BACKEND, getNames, layerNames, type StoreCase, soon } from './store-fixture.js';

/** A registry that asks for more patience than there is is not asked again, which keeps these cases short. */
const NO_RETRY = { 'retry-after': '600' };

const status = (code: number): RegistryFault => ({ kind: 'status', status: code, headers: NO_RETRY });

/** What is wrong with every answer of one kind, and what the pull ends with. */
const answers: Record<string, readonly [RequestKind, RegistryFault, ErrorCode]> = {
  'a manifest that wants a login': ['manifest', status(401), 'LARDER_REGISTRY_UNAUTHENTICATED'],
  'a manifest that is denied': ['manifest', status(403), 'LARDER_REGISTRY_DENIED'],
  'a manifest that is not there': ['manifest', status(404), 'LARDER_IMAGE_NOT_FOUND'],
  'too many requests for manifests': ['manifest', status(429), 'LARDER_REGISTRY_RATE_LIMITED'],
  'a registry that fails': ['manifest', status(500), 'LARDER_REGISTRY_UNAVAILABLE'],
  'a registry that is overloaded': ['manifest', status(503), 'LARDER_REGISTRY_UNAVAILABLE'],
  'a manifest that is not JSON': ['manifest', { kind: 'wrong-bytes' }, 'LARDER_DIGEST_MISMATCH'],
  'a config that is not there': ['config', status(404), 'LARDER_BLOB_NOT_FOUND'],
  'a config with other bytes': ['config', { kind: 'wrong-bytes' }, 'LARDER_DIGEST_MISMATCH'],
  'a layer that wants a login': ['layer', status(401), 'LARDER_REGISTRY_UNAUTHENTICATED'],
  'a layer that is denied': ['layer', status(403), 'LARDER_REGISTRY_DENIED'],
  'a layer that is not there': ['layer', status(404), 'LARDER_BLOB_NOT_FOUND'],
  'too many requests for layers': ['layer', status(429), 'LARDER_REGISTRY_RATE_LIMITED'],
  'layers that fail': ['layer', status(502), 'LARDER_REGISTRY_UNAVAILABLE'],
  'a layer that is reset each time': ['layer', { kind: 'reset', after: 10 }, 'LARDER_REGISTRY_UNAVAILABLE'],
  'a layer that ends early each time': ['layer', { kind: 'short', after: 0 }, 'LARDER_REGISTRY_UNAVAILABLE'],
  'a layer with other bytes': ['layer', { kind: 'wrong-bytes' }, 'LARDER_DIGEST_MISMATCH'],
};

/** Images that lie about themselves. */
const images: Record<string, readonly [LayerSource, ErrorCode]> = {
  'a layer that is not of the size that its manifest says': [
    { tar: sampleLayer('liar', 5000), claimedSize: 100 },
    'LARDER_SIZE_MISMATCH',
  ],
  'a layer whose tar is not of its DiffID': [
    { tar: sampleLayer('liar'), claimedDiffId: `sha256:${'1'.repeat(64)}` },
    'LARDER_DIFF_ID_MISMATCH',
  ],
  'a layer whose gzip ends early': [
    { tar: sampleLayer('liar', 5000), blob: gzipSync(sampleLayer('liar', 5000)).subarray(0, 2000) },
    'LARDER_LAYER_CORRUPT',
  ],
  'a layer that is not compressed as it says': [
    { tar: sampleLayer('liar'), blob: Buffer.from('this is no gzip at all') },
    'LARDER_LAYER_INVALID',
  ],
  'a layer that is not a tar': [{ tar: Buffer.alloc(4096, 'not a tar ') }, 'LARDER_LAYER_INVALID'],
};

export const faultCases: Record<string, StoreCase> = {
  ...Object.fromEntries(
    Object.entries(answers).map(([what, fault]) => [
      `${what} ends with its code, and nothing is left`,
      answered(fault),
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(images).map(([what, lie]) => [`${what} is refused, and nothing is left`, lied(lie)]),
  ),

  'an image that has not our platform is refused with its code': async ({ store, source, image }) => {
    source.publishIndex('a', [buildImage({ platform: 'linux/s390x', layers: [{ tar: sampleLayer('s390x') }] })]);
    const get = store.get(image('a', { platform: 'linux/riscv64' }), BACKEND);
    await assert.rejects(get, { code: 'LARDER_PLATFORM_NOT_FOUND' });
  },
  'a name that is none is refused without a request': async ({ store, source }) => {
    const get = store.get({ type: 'docker', name: 'UPPER CASE' }, BACKEND);
    await assert.rejects(get, { code: 'LARDER_REFERENCE_INVALID' });
    assert.equal(source.registry.requests.length, 0);
  },
  'a broken connection is gone on with where it broke': async (fixture) => {
    const built = fixture.source.publish('a', [sampleLayer('big', 1_000_000)]);
    fixture.source.setFault(({ kind, offset }) =>
      kind === 'layer' && offset === 0 ? { kind: 'reset', after: 600_000 } : undefined,
    );
    assert.deepEqual(await getNames(fixture, fixture.image('a')), layerNames(built));
    const offsets = fixture.source.requests('layer').map(({ offset }) => offset);
    assert.equal(offsets[0], 0);
    assert.ok(offsets.length === 2 && (offsets[1] ?? 0) > 64_000, `asked from ${offsets.join(', ')}`);
  },
  'after a bad pull of one layer the one that was done is kept for the next pull': async ({ store, source, image }) => {
    const built = source.publish('a', [sampleLayer('good'), sampleLayer('bad')]);
    const bad = built.layers[1]?.digest;
    let done = false;
    // Refused only once the other one is here.
    source.setFault(({ wanted }) => {
      if (wanted !== bad) return undefined;
      return done ? status(403) : { kind: 'status', status: 503, headers: { 'retry-after': '1' } };
    });
    const onEvent = (event: LarderEvent): void => {
      if (event.type === 'layer-done') done = true;
    };
    await assert.rejects(store.get(image('a'), BACKEND, { onEvent }), { code: 'LARDER_REGISTRY_DENIED' });
    assert.ok(done);
    source.setFault();
    const before = source.requests('layer').length;
    await store.get(image('a'), BACKEND);
    assert.deepEqual(
      source
        .requests('layer')
        .slice(before)
        .map(({ wanted }) => wanted),
      [bad],
    );
  },
  'a cached image stands when the registry fails on cached: false': async (fixture) => {
    const built = fixture.source.publish('a', [sampleLayer('one')]);
    await fixture.store.get(fixture.image('a'), BACKEND);
    fixture.source.setFault(() => status(503));
    const get = fixture.store.get(fixture.image('a', { cached: false }), BACKEND);
    await assert.rejects(get, { code: 'LARDER_REGISTRY_UNAVAILABLE' });
    assert.deepEqual(await getNames(fixture, fixture.image('a')), layerNames(built));
  },
};

function answered([kind, fault, code]: readonly [RequestKind, RegistryFault, ErrorCode]): StoreCase {
  return async (fixture) => {
    const built = fixture.source.publish('a', [sampleLayer('one', 20_000)]);
    // By digest, so that wrong bytes of a manifest can be known for what they are.
    const image = fixture.image('a', { tag: `@${built.digest}` });
    fixture.source.setFault((request) => (request.kind === kind ? fault : undefined));
    await assert.rejects(soon(fixture.store.get(image, BACKEND), 'the pull', 40_000), { code });
    await requireNothingLeft(fixture);
    fixture.source.setFault();
    assert.deepEqual(await getNames(fixture, image), layerNames(built));
  };
}

function lied([layer, code]: readonly [LayerSource, ErrorCode]): StoreCase {
  return async (fixture) => {
    fixture.source.publish('a', [layer]);
    await assert.rejects(fixture.store.get(fixture.image('a'), BACKEND), { code });
    await requireNothingLeft(fixture);
  };
}

/** Only bytes for a resume may be there, and those are no fault. */
const requireNothingLeft: StoreCase = async (fixture) => {
  const found = (await fixture.findings()).filter(({ subject }) => !subject.startsWith('download of'));
  assert.deepEqual(found, []);
};
