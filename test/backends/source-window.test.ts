import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SourceWindow } from '../../src/backends/source-window.js';

const directory = mkdtempSync(join(tmpdir(), 'larder-window-'));
after(() => rmSync(directory, { recursive: true }));

let made = 0;
/** What `copy` of each place writes, by one window. */
function copied(
  window: SourceWindow,
  source: string,
  offset: number,
  length: number,
): { bytes: Buffer; count: number } {
  const path = join(directory, `copy-${made++}`);
  const [from, to] = [openSync(source, 'r'), openSync(path, 'wx')];
  try {
    const count = window.copy(from, offset, to, length);
    return { bytes: readFileSync(path), count };
  } finally {
    closeSync(from);
    closeSync(to);
  }
}

function sourceOf(bytes: Buffer): string {
  const path = join(directory, `source-${made++}`);
  writeFileSync(path, bytes);
  return path;
}

const SIZES = [1, 511, 512, 3000, 16_384, 16_385, 100_000, 131_072, 131_073, 300_000, 7];

for (const [order, sort] of [
  ['front to back', (places: [number, number][]) => places],
  ['back to front', (places: [number, number][]) => places.reverse()],
] as const) {
  test(`files are copied byte for byte from ${order}`, () => {
    const source = randomBytes(SIZES.reduce((sum, size) => sum + size + 512, 0));
    const path = sourceOf(source);
    const window = new SourceWindow();
    let next = 0;
    const places = SIZES.map((size): [number, number] => {
      const place: [number, number] = [next + 512, size];
      next += size + 512;
      return place;
    });
    const from = openSync(path, 'r');
    try {
      for (const [offset, length] of sort(places)) {
        const copy = join(directory, `copy-${made++}`);
        const to = openSync(copy, 'wx');
        assert.equal(window.copy(from, offset, to, length), length);
        closeSync(to);
        assert.deepEqual(readFileSync(copy), source.subarray(offset, offset + length));
      }
    } finally {
      closeSync(from);
    }
  });
}

test('what was read of one source is not taken for another', () => {
  const [first, second] = [randomBytes(5000), randomBytes(5000)];
  const [a, b] = [openSync(sourceOf(first), 'r'), openSync(sourceOf(second), 'r')];
  const window = new SourceWindow();
  try {
    for (const [fd, bytes] of [
      [a, first],
      [b, second],
      [a, first],
    ] as const) {
      const copy = join(directory, `copy-${made++}`);
      const to = openSync(copy, 'wx');
      window.copy(fd, 1000, to, 2000);
      closeSync(to);
      assert.deepEqual(readFileSync(copy), bytes.subarray(1000, 3000));
    }
  } finally {
    closeSync(a);
    closeSync(b);
  }
});

test('a source that ends early gives fewer bytes', () => {
  const source = randomBytes(1000);
  const { bytes, count } = copied(new SourceWindow(), sourceOf(source), 600, 500);
  assert.equal(count, 400);
  assert.deepEqual(bytes, source.subarray(600));
});

test('a source that ends before the file gives nothing', () => {
  const { bytes, count } = copied(new SourceWindow(), sourceOf(randomBytes(100)), 600, 500);
  assert.equal(count, 0);
  assert.equal(bytes.length, 0);
});
