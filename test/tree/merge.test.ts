import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dir, file, hardlink, merged, show, symlink } from './entries.js';

test('No layers give an empty root', () => {
  assert.deepEqual(show(merged()), ['/ d implied']);
});

test('A whiteout hides what is below it, an opaque directory its lower content', () => {
  const tree = merged(
    [dir('a'), file('a/x', 1), file('a/y', 1), dir('b'), file('b/z', 1)],
    [file('a/.wh.x'), file('a/n', 2), file('b/.wh..wh..opq'), file('b/m', 2)],
  );
  assert.deepEqual(show(tree), ['/ d implied', 'a d 755', 'a/n f 2', 'a/y f 1', 'b d 755', 'b/m f 2']);
});

test('A hardlink may name a file of a lower layer, through symlinks', () => {
  const tree = merged([dir('usr'), file('usr/x', 1), symlink('bin', 'usr')], [hardlink('bin/y', '/bin/x')]);
  assert.deepEqual(show(tree), ['/ d implied', 'bin l usr', 'usr d 755', 'usr/x f 1', 'usr/y f 1 =usr/x']);
});
