import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAppcManifest } from '../../src/spec/appc-manifest.js';
import { imageIdOf } from '../../src/spec/appc-types.js';
import { digestOf, parseDiffId } from '../../src/spec/digest.js';
import { type AciGraph, type StoredAci, stackOfAci } from '../../src/store/appc/appc-graph.js';

interface Described {
  readonly needs?: readonly string[];
  readonly only?: readonly string[];
}

/** Images by one-letter names, each found under its name. */
function graphOf(images: Readonly<Record<string, Described>>): AciGraph {
  return new Map(Object.entries(images).map(([name, image]) => [name, aciOf(name, image)]));
}

function aciOf(name: string, { needs = [], only = [] }: Described): StoredAci {
  const manifest = {
    acKind: 'ImageManifest',
    acVersion: '0.8.11',
    name,
    dependencies: needs.map((imageName) => ({ imageName })),
    pathWhitelist: only,
  };
  return {
    reference: name,
    platform: 'linux/amd64',
    id: imageIdOf(digestOf(Buffer.from(name), 'sha512')),
    manifest: parseAppcManifest(Buffer.from(JSON.stringify(manifest))),
    manifestDigest: digestOf(Buffer.from(name)),
    diffId: parseDiffId(digestOf(Buffer.from(name))),
    size: 1,
    pinned: false,
    dependencies: needs,
  };
}

const namesOf = (graph: AciGraph, root: string): string[] =>
  stackOfAci(graph, root).map(({ aci }) => aci.manifest.name);

test('the diamond of the seed, A→B→C and A→D→C, gives C, B, D, A', () => {
  const graph = graphOf({ a: { needs: ['b', 'd'] }, b: { needs: ['c'] }, c: {}, d: { needs: ['c'] } });
  assert.deepEqual(namesOf(graph, 'a'), ['c', 'b', 'd', 'a']);
  assert.deepEqual(namesOf(graph, 'b'), ['c', 'b']);
});

test('dependencies come in the order in which the manifest lists them, one that is listed twice once', () => {
  const graph = graphOf({ a: { needs: ['d', 'b', 'd'] }, b: {}, d: {} });
  assert.deepEqual(namesOf(graph, 'a'), ['d', 'b', 'a']);
});

test('a circle is refused, with the way it goes', () => {
  const graph = graphOf({ a: { needs: ['b'] }, b: { needs: ['c'] }, c: { needs: ['b'] } });
  assert.throws(() => stackOfAci(graph, 'a'), { code: 'LARDER_DEPENDENCY_CYCLE', message: /b → c → b/ });
  assert.throws(() => stackOfAci(graphOf({ a: { needs: ['a'] } }), 'a'), { code: 'LARDER_DEPENDENCY_CYCLE' });
});

test('a chain of many images needs no stack of ours', () => {
  const images = Object.fromEntries(
    Array.from({ length: 20_000 }, (_, i) => [`n${i}`, i === 0 ? {} : { needs: [`n${i - 1}`] }]),
  );
  assert.equal(namesOf(graphOf(images), 'n19999').length, 20_000);
});

test('what many ways lead to is walked once', () => {
  const images: Record<string, Described> = { n0: {} };
  for (let i = 1; i < 60; i++)
    images[`n${i}`] = { needs: Array.from({ length: Math.min(i, 3) }, (_, k) => `n${i - 1 - k}`) };
  assert.equal(namesOf(graphOf(images), 'n59').length, 60);
});

test('a whitelist holds for the image and for what it depends on', () => {
  const graph = graphOf({ a: { needs: ['b'], only: ['/x', '/y'] }, b: { needs: ['c'], only: ['/y', '/z'] }, c: {} });
  const only = stackOfAci(graph, 'a').map((image) => image.only && [...image.only].sort());
  assert.deepEqual(only, [['/y'], ['/y'], ['/x', '/y']]);
  assert.deepEqual(
    stackOfAci(graph, 'c').map((image) => image.only),
    [undefined],
  );
});

test('what one dependent hides another one shows', () => {
  const graph = graphOf({
    a: { needs: ['b', 'd'] },
    b: { needs: ['c'], only: ['/b'] },
    d: { needs: ['c'], only: ['/d'] },
    c: {},
  });
  const shown = new Map(stackOfAci(graph, 'a').map(({ aci, only }) => [aci.manifest.name, only]));
  assert.deepEqual([...(shown.get('c' as never) ?? [])].sort(), ['/b', '/d']);
  const open = graphOf({ a: { needs: ['b', 'c'] }, b: { needs: ['c'], only: ['/b'] }, c: {} });
  assert.equal(stackOfAci(open, 'a')[0]?.only, undefined);
});
