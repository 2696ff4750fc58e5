import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageGcConfig } from '../../src/config-documents.js';
import { type GcImage, type GcLimits, type GcState, planGc } from '../../src/store/upkeep/gc-policy.js';

const NOW = 1_000_000_000;
const HOUR = 3_600_000;

/** A disk of 1000 bytes; images of 100 bytes each that share nothing, the first one used least lately. */
function state(changes: Partial<GcState> & { readonly used?: number } = {}): GcState {
  const { used = 950, ...rest } = changes;
  const images =
    rest.images ?? ['a', 'b', 'c', 'd'].map((name, i) => image(name, { lastUsedAtMs: NOW - (10 - i) * HOUR }));
  return {
    nowMs: NOW,
    disk: { sizeBytes: 1000, usedBytes: used },
    storeBytes: used,
    garbageBytes: 0,
    derived: [],
    sizes: new Map(images.flatMap(({ holds }) => holds.map((name) => [name, 100]))),
    heldElsewhere: new Set(),
    ...rest,
    images,
  };
}

function image(name: string, changes: Partial<GcImage> = {}): GcImage {
  const flags = { pinned: false, excluded: false, inUse: false, leased: false };
  return {
    id: name.charCodeAt(0),
    name,
    lastUsedAtMs: 0,
    createdAtMs: 0,
    ...flags,
    holds: [`layer of ${name}`],
    ...changes,
  };
}

const limits = (json: object): GcLimits => parseImageGcConfig(json, 'test');
const headroom = (of: number): GcLimits => limits({ image_disk_headroom: of });
const names = (...given: Parameters<typeof planGc>): string =>
  planGc(...given)
    .images.map(({ image: { name } }) => name)
    .join('');

const DUE: readonly [sentence: string, used: number, limits: GcLimits, due: boolean][] = [
  ['headroom 0.1: 0.90 of the disk is not too much', 900, headroom(0.1), false],
  ['headroom 0.1: 0.901 is', 901, headroom(0.1), true],
  ['headroom 0.3: 0.70 is not, although 1 - 0.3 is a little less than 0.7 to a computer', 700, headroom(0.3), false],
  ['headroom 1: any use is too much', 1, headroom(1), true],
  ['headroom 1: none is not', 0, headroom(1), false],
  ['headroom 0: a full disk is not too much', 1000, headroom(0), false],
  ['a high mark of 0.8: 0.80 is not', 800, limits({ high_watermark: 0.8, low_watermark: 0.5 }), false],
  ['a high mark of 0.8: 0.801 is', 801, limits({ high_watermark: 0.8, low_watermark: 0.5 }), true],
  ['a store of 500 bytes at most: 500 is not too much', 500, limits({ store_max_bytes: 500 }), false],
  ['a store of 500 bytes at most: 501 is, on a disk with room', 501, limits({ store_max_bytes: 500 }), true],
];
for (const [sentence, used, given, due] of DUE) {
  test(`due: ${sentence}`, () => assert.equal(planGc(state({ used }), given).due !== undefined, due));
}

const MARKS = limits({ high_watermark: 0.9, low_watermark: 0.75 });
const TAKEN: readonly [sentence: string, state: GcState, limits: GcLimits, taken: string][] = [
  ['the least recently used, as many as the low mark needs', state(), MARKS, 'ab'],
  ['nothing below the high mark, although it is above the low one', state({ used: 850 }), MARKS, ''],
  ['with the keys of Mesos alone: down to half the headroom below', state({ used: 980 }), headroom(0.1), 'ab'],
  [
    'all that may go, when that is not enough',
    state({ used: 1000 }),
    limits({ high_watermark: 0.9, low_watermark: 0 }),
    'abcd',
  ],
  ['no image when what nothing holds is enough', state({ garbageBytes: 200 }), MARKS, ''],
  ['one image when that is nearly enough', state({ garbageBytes: 199 }), MARKS, 'a'],
  ['no image when what can be made again is enough', state({ derived: [{ name: 'merged', bytes: 200 }] }), MARKS, ''],
  ["down to the store's own limit", state({ used: 501 }), limits({ store_max_bytes: 400 }), 'ab'],
];
for (const flag of ['pinned', 'excluded', 'inUse', 'leased'] as const) {
  const [a, ...others] = state().images;
  const images = [{ ...(a ?? assert.fail()), [flag]: true }, ...others];
  test(`takes: not an image that is ${flag}`, () => assert.equal(names(state({ images }), MARKS), 'bc'));
}
for (const [sentence, given, under, taken] of TAKEN) {
  test(`takes: ${sentence}`, () => assert.equal(names(given, under), taken));
}

test('an image as old as the minimum age goes, a younger one stays', () => {
  const young = limits({ high_watermark: 0.9, low_watermark: 0, minimum_age: '9hrs' });
  assert.equal(names(state(), young), 'ab');
});

test('garbage goes first and derived files second, all of them or none', () => {
  const derived = [{ name: 'merged', bytes: 50 }];
  assert.equal(planGc(state({ garbageBytes: 200, derived }), MARKS).derived, false);
  const plan = planGc(state({ garbageBytes: 100, derived }), MARKS);
  assert.deepEqual([plan.garbage, plan.derived, plan.expectedBytes, plan.images.length], [true, true, 250, 1]);
});

test('a shared layer counts with the last image that has it, and never when something else holds it', () => {
  const images = ['a', 'b', 'c'].map((name, i) =>
    image(name, { lastUsedAtMs: NOW - (10 - i) * HOUR, holds: ['base', `own ${name}`] }),
  );
  const sizes = new Map([
    ['base', 500],
    ['own a', 10],
    ['own b', 10],
    ['own c', 10],
  ]);
  const all = limits({ high_watermark: 0.9, low_watermark: 0 });
  const plan = planGc(state({ images, sizes }), all);
  assert.deepEqual(
    plan.images.map(({ bytes }) => bytes),
    [10, 10, 510],
  );
  const held = planGc(state({ images, sizes, heldElsewhere: new Set(['base']) }), all);
  assert.deepEqual(
    held.images.map(({ bytes }) => bytes),
    [10, 10, 10],
  );
});

test('once begun it goes on to the low mark, and then ends', () => {
  const due = planGc(state(), MARKS).due;
  assert.equal(names(state({ used: 850 }), MARKS, due), 'a');
  assert.equal(planGc(state({ used: 750 }), MARKS, due).due, undefined);
});

test('an image that was used before the clock was set back is the last to go, and goes', () => {
  const images = [image('a', { lastUsedAtMs: NOW + 87_600 * HOUR }), image('b', { lastUsedAtMs: NOW - HOUR })];
  assert.equal(names(state({ images }), limits({ high_watermark: 0.9, low_watermark: 0 })), 'ba');
});
