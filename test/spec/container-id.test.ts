import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ancestorsOf,
  containerOfDirectory,
  deepestFirst,
  directoryNameOf,
  isBelow,
  listWithParents,
  parseContainerId,
} from '../../src/spec/container-id.js';

const deepest = 'a/b/c/d/e';
const longest = ['x'.repeat(99), 'y'.repeat(100)].join('/');

test('names and nested names are container ids, up to five levels and 200 characters', () => {
  for (const id of ['a', 'A.b_c-9', 'x'.repeat(128), 'a/b', deepest, longest]) assert.equal(parseContainerId(id), id);
});

test('what is no name on disk is no container id', () => {
  const bad = [
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    '.',
    '..',
    'a/..',
    'a/.b',
    '-a',
    'a+b',
    'a b',
    'a\0b',
    'é',
    'a.lock',
    'a.lock/b',
  ];
  for (const id of [...bad, `${deepest}/f`, `${longest}z`, 'x'.repeat(129), 'x'.repeat(1_000_000)]) {
    assert.throws(() => parseContainerId(id), { code: 'LARDER_REQUEST_INVALID' }, id.slice(0, 20));
  }
});

test('a container’s directory is one name that tells the container', () => {
  for (const text of ['a', 'a/b', deepest, longest]) {
    const id = parseContainerId(text);
    assert.ok(!directoryNameOf(id).includes('/'));
    assert.equal(containerOfDirectory(directoryNameOf(id)), id);
  }
  for (const name of ['', 'a++b', '+a', 'a+', 'a.lock', '.hidden', 'a+b+c+d+e+f', 'lost found']) {
    assert.equal(containerOfDirectory(name), undefined, name);
  }
});

test('ancestors are named from the outermost inwards', () => {
  assert.deepEqual(ancestorsOf(parseContainerId('a')), []);
  assert.deepEqual(ancestorsOf(parseContainerId('a/b/c')), ['a', 'a/b']);
  assert.ok(isBelow(parseContainerId('a/b/c'), parseContainerId('a')));
  assert.ok(!isBelow(parseContainerId('ab'), parseContainerId('a')));
  assert.ok(!isBelow(parseContainerId('a'), parseContainerId('a')));
});

test('children come before their parents', () => {
  assert.deepEqual(['a', 'a/b/c', 'b/c'].map(parseContainerId).sort(deepestFirst), ['a/b/c', 'b/c', 'a']);
});

test('ProvisionerPathTest.ListProvisionerContainers: parents that only their children imply are listed too', () => {
  const onDisk = ['one', 'two/child', 'three/child/grandchild'].map(parseContainerId);
  const all = ['one', 'three', 'three/child', 'three/child/grandchild', 'two', 'two/child'];
  assert.deepEqual(listWithParents(onDisk), all);
});
