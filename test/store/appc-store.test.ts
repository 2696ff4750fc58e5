/**
 * The store's suite over Appc images: the cases that rest neither on manifests and configs that a registry has apart from
 * its layers, nor on downloads that go on where they broke. What is left out here has a case of its own in the other
 * tests of Appc.
 */
import { test } from 'node:test';
import { storeConformance } from '../../src/testing/conformance/store.js';
import { appcStoreFixture } from '../helpers/appc-store-fixture.js';

const CASES = [
  /an image that is not here is fetched, its layers base first and whole/,
  /a hit makes no request/,
  /an image by tag and by digest share their layers/,
  /a moved tag is noticed with cached: false/,
  /a layer that is lost on disk is pulled again, and only that/,
  /a layer that lost its end on disk is pulled again/,
  /recover forgets and names the images whose layers are gone/,
  /images that share a layer, pulled at once, fetch it once/,
  /a waiter that cancels settles at once/,
  /a get that was cancelled before it began asks nobody/,
  /a diamond of dependencies is in topological order, without repeats/,
  /a cycle of dependencies is refused/,
  /a layer that wants a login/,
  /a layer that is denied/,
  /too many requests for layers/,
  /layers that fail/,
  /a layer that is reset each time/,
  /a layer that ends early each time/,
  /a cached image stands when the registry fails on cached: false/,
  /prune keeps the excluded images whole/,
  /a name without a tag excludes latest, and nothing else/,
  /what is held is not pruned before it is given back/,
  /prune beside pulls never leaves an image without its layers/,
  /processes that pull one image at once download it once/,
] as const;

const found = new Set<RegExp>();
storeConformance('the appc store', appcStoreFixture, (name, options, body) => {
  const match = CASES.find((pattern) => pattern.test(name));
  if (match === undefined) return;
  found.add(match);
  test(name, options, body);
});

test('each of these cases is in the suite', () => {
  const missing = CASES.filter((pattern) => !found.has(pattern));
  if (missing.length > 0) throw new Error(`no case is called ${missing.map(String).join(', ')}`);
});
