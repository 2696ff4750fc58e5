/** Members of an archive are found where a whole reading of it finds them, although their contents are passed over. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { TarMembers } from '../../src/store/archives/tar-members.js';
import { DEFAULT_LAYER_LIMITS, ENTRY } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

interface Place {
  readonly offset: number;
  readonly size: number;
}

function wholeReading(bytes: Uint8Array): Map<string, Place> {
  const found = new Map<string, Place>();
  const reader = new TarReader(
    {
      entry: ({ type, path, offset, size }) => {
        if (type === ENTRY.file) found.set(Buffer.from(path).toString(), { offset, size });
      },
    },
    DEFAULT_LAYER_LIMITS,
  );
  reader.write(bytes);
  reader.end();
  return found;
}

async function withMembers(bytes: Uint8Array, work: (members: TarMembers) => Promise<void>): Promise<void> {
  const directory = makeDirectory();
  const path = join(directory, 'a.tar');
  writeFileSync(path, bytes);
  const handle = await open(path);
  try {
    await work(await TarMembers.read(handle, { name: path, path, size: bytes.length }));
  } finally {
    await handle.close();
    removeDirectory(directory);
  }
}

test('files of every size, around what is read at once, are found where they are', async () => {
  // What is read at once is 64 KiB; headers and padding move what follows in it.
  const sizes = [0, 1, 511, 512, 513, 64_000, 65_023, 65_024, 65_025, 65_535, 65_536, 65_537, 131_072, 300_001, 5];
  await fc.assert(
    fc.asyncProperty(fc.shuffledSubarray(sizes, { minLength: 3 }), async (chosen) => {
      const long = 'x'.repeat(150);
      const members = chosen.flatMap((size, i) => [
        dir(`d${i}`),
        file(`d${i}/${long}${size}`, Buffer.alloc(size, 'c')),
      ]);
      const bytes = tar(members);
      const expected = wholeReading(bytes);
      await withMembers(bytes, async (found) => {
        assert.equal(expected.size, chosen.length);
        for (const [name, { offset, size }] of expected) {
          const place = await found.find(name);
          assert.deepEqual({ offset: place?.offset, size: place?.size }, { offset, size });
        }
      });
    }),
    { numRuns: 40 },
  );
});

test('what is not in the archive is not found, and what leads out of it is refused', async () => {
  await withMembers(tar([file('a/b', 'x')]), async (members) => {
    for (const name of ['a', 'b', 'a/b/c', '', '.', 'A/B']) assert.equal(await members.find(name), undefined, name);
    assert.equal((await members.find('./a//c/../b'))?.size, 1);
    await assert.rejects(members.find('../a/b'), { code: 'LARDER_ARCHIVE_INVALID' });
  });
});

test('an archive that its last file does not fit into is refused', async () => {
  const whole = tar([file('a', Buffer.alloc(200_000))]);
  for (const size of [100_000, 200_511, 512]) {
    await assert.rejects(
      withMembers(whole.subarray(0, size), async () => {}),
      { code: 'LARDER_ARCHIVE_INVALID' },
    );
  }
});
