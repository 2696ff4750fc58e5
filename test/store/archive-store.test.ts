/**
 * The store's suite over archives: the cases that neither count nor break requests, since there are none, nor rest on a
 * name that goes on meaning what it meant, since an archive is looked into each time.
 */
import { test } from 'node:test';
import { storeConformance } from '../../src/testing/conformance/store.js';
import { archiveStoreFixture } from '../helpers/archive-store.js';

const CASES = [
  /an image that is not here is fetched, its layers base first and whole/,
  /a hit makes no request/,
  /each platform of one name is an image of its own/,
  /an image whose config is lost on disk is pulled again/,
  /recover forgets and names the images whose layers are gone/,
  /a get that was cancelled before it began asks nobody/,
  /: a layer .* is refused, and nothing is left/,
  /an image that has not our platform is refused with its code/,
  /a name that is none is refused without a request/,
  /a name without a tag excludes latest, and nothing else/,
  /what is held is not pruned before it is given back/,
  /a dry run tells what a prune then removes, and removes nothing/,
  /prune beside pulls never leaves an image without its layers/,
] as const;

const found = new Set<RegExp>();
storeConformance('the docker store over archives', archiveStoreFixture, (name, options, body) => {
  const match = CASES.find((pattern) => pattern.test(name));
  if (match === undefined) return;
  found.add(match);
  test(name, options, body);
});

test('each of these cases is in the suite', () => {
  const missing = CASES.filter((pattern) => !found.has(pattern));
  if (missing.length > 0) throw new Error(`no case is called ${missing.map(String).join(', ')}`);
});
