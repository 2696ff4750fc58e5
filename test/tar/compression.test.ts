import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { isLarderError } from '../../src/errors.js';
import {
  type Compression,
  checkCompression,
  listDecoders,
  openInflater,
  sniffCompression,
} from '../../src/tar/compression.js';

const DECODERS = [
  ...(await listDecoders('gzip')).map((name) => ['gzip', name] as const),
  ...(await listDecoders('zstd')).map((name) => ['zstd', name] as const),
  ...(await listDecoders('bzip2')).map((name) => ['bzip2', name] as const),
  ...(await listDecoders('xz')).map((name) => ['xz', name] as const),
];
/** The commands that make the inputs; gzip's come from Node. */
const COMMANDS = ['zstd', 'bzip2', 'xz'].filter((name) => spawnSync(name, ['--help']).status === 0);

const TEXT = Buffer.from(Array.from({ length: 60_000 }, (_, i) => `${(i * 7919) % 10_007} larder ${i}\n`).join(''));
/** The same in each run: four bytes of a format and noise make, once in a while, a header that asks for more than a limit. */
const NOISE = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(300_000));
const CORRUPT = 'LARDER_LAYER_CORRUPT';

/** RFC 8878, 3.1.2. */
const SKIPPABLE = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
/** Frame of no bytes: magic, descriptor (single segment, content size 0), one last empty raw block. */
const EMPTY_FRAME = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00]);

function frame(content: Uint8Array, ...args: string[]): Buffer {
  return packed('zstd', content, '-q', '--check', ...args);
}

function packed(command: string, content: Uint8Array, ...args: string[]): Buffer {
  const made = spawnSync(command, ['-c', ...args], { input: content, maxBuffer: 1 << 28 });
  assert.equal(made.status, 0, made.stderr.toString());
  return made.stdout;
}

/** One stream, member or frame. */
function packWith(compression: Compression, content: Uint8Array): Buffer {
  if (compression === 'gzip') return gzipSync(content);
  return compression === 'zstd' ? frame(content) : packed(compression, content, '-1');
}

async function inflate(compression: Compression, prefer: (typeof DECODERS)[number][1], input: Buffer, chunk = 65_536) {
  const inflater = await openInflater(compression, { prefer, name: 'test' });
  const pieces: Buffer[] = [];
  try {
    for (let i = 0; i < input.length; i += chunk) {
      await inflater.write(input.subarray(i, i + chunk), (bytes) => void pieces.push(Buffer.from(bytes)));
    }
    await inflater.end((bytes) => void pieces.push(Buffer.from(bytes)));
  } finally {
    inflater.close();
  }
  return Buffer.concat(pieces);
}

async function verdict(...args: Parameters<typeof inflate>): Promise<string> {
  return inflate(...args).then(
    () => 'ok',
    (error: unknown) => (isLarderError(error) ? error.code : Promise.reject(error)),
  );
}

describe('inflaters', () => {
  it('exist for gzip and zstd everywhere', () => {
    assert.ok(DECODERS.some(([, name]) => name === 'zlib'));
    assert.ok(DECODERS.some(([compression]) => compression === 'zstd'));
  });

  it('say which library is missing for bzip2 and xz', () => {
    const without = fileURLToPath(new URL('../helpers/without-koffi.js', import.meta.url));
    const module = new URL('../../src/tar/compression.js', import.meta.url).href;
    const code = `
      const { openInflater } = await import(${JSON.stringify(module)});
      for (const name of ['bzip2', 'xz']) {
        await openInflater(name).catch(({ code, hint }) => process.stdout.write(code + ' ' + hint + '\\n'));
      }`;
    const run = spawnSync(process.execPath, ['--import', without, '--input-type=module', '-e', code]);
    assert.match(
      run.stdout.toString(),
      /^LARDER_MEDIA_TYPE_UNSUPPORTED .*libbz2\.so\.1.*\nLARDER_MEDIA_TYPE_UNSUPPORTED .*liblzma\.so\.5.*\n$/,
      run.stderr.toString(),
    );
  });

  for (const [compression, name] of DECODERS) {
    const made = compression === 'gzip' || COMMANDS.includes(compression);
    describe(name, { skip: made ? false : `the ${compression} command is missing` }, () => {
      const pack = (content: Uint8Array) => packWith(compression, content);
      const decode = (input: Buffer, chunk?: number) => inflate(compression, name, input, chunk);
      const judge = (input: Buffer, chunk?: number) => verdict(compression, name, input, chunk);

      it('gives the bytes back, whatever the chunks', async () => {
        const packed = pack(Buffer.concat([TEXT, NOISE]));
        for (const chunk of [1009, 65_536, packed.length]) {
          assert.ok((await decode(packed, chunk)).equals(Buffer.concat([TEXT, NOISE])));
        }
        const small = TEXT.subarray(0, 3000);
        assert.ok((await decode(pack(small), 1)).equals(small));
      });

      it('joins members or frames, empty ones included', async () => {
        const parts = [TEXT.subarray(0, 9000), Buffer.alloc(0), NOISE.subarray(0, 3000), Buffer.alloc(0)];
        const input = Buffer.concat(parts.map(pack));
        for (const chunk of [1, 7, 4096, input.length]) {
          assert.ok((await decode(input, chunk)).equals(Buffer.concat(parts)), `chunk ${chunk}`);
        }
      });

      it('refuses an empty stream', async () => assert.equal(await judge(Buffer.alloc(0)), CORRUPT));

      it('refuses a stream that is cut anywhere', async () => {
        const packed = pack(TEXT.subarray(0, 5000));
        for (const length of [1, 3, 5, 9, 50, packed.length - 9, packed.length - 4, packed.length - 1]) {
          assert.equal(await judge(packed.subarray(0, length)), CORRUPT, `cut at ${length}`);
        }
        const small = pack(TEXT.subarray(0, 300));
        for (let length = 0; length < small.length; length++) {
          assert.equal(await judge(small.subarray(0, length)), CORRUPT, `small one, cut at ${length}`);
        }
      });

      it('refuses a flipped bit in the data', async () => {
        const packed = pack(NOISE);
        for (const at of [200, packed.length >> 1, packed.length - 2]) {
          const damaged = Buffer.from(packed);
          damaged.writeUInt8(damaged.readUInt8(at) ^ 4, at);
          assert.equal(await judge(damaged), CORRUPT, `at ${at}`);
        }
      });

      it('refuses what is something else', async () => {
        assert.equal(await judge(Buffer.from('not compressed at all')), CORRUPT);
        assert.equal(await judge(Buffer.concat([pack(TEXT).subarray(0, 4), NOISE])), CORRUPT);
      });

      it('refuses other bytes after the end', async () => {
        const packed = pack(TEXT);
        for (const chunk of [packed.length, 1 << 20]) {
          assert.equal(await judge(Buffer.concat([packed, Buffer.from('junk')]), chunk), CORRUPT);
        }
      });

      it('fails with what its receiver throws, and can be closed then', async () => {
        const inflater = await openInflater(compression, { prefer: name });
        const stop = new RangeError('enough');
        await assert.rejects(
          async () =>
            inflater.write(pack(TEXT), () => {
              throw stop;
            }),
          (error) => error === stop,
        );
        inflater.close();
        inflater.close();
      });

      it('is stopped by its receiver inside a bomb, before memory is spent', async () => {
        const bomb = bombOf(compression);
        const input = Buffer.concat(Array.from({ length: 16 }, () => bomb));
        const inflater = await openInflater(compression, { prefer: name });
        const rss = process.memoryUsage.rss();
        let total = 0;
        await assert.rejects(async () => {
          await inflater.write(input, (bytes) => {
            assert.ok(bytes.length <= 1 << 20);
            total += bytes.length;
            if (total > 100 << 20) throw new RangeError('cap');
          });
        }, RangeError);
        inflater.close();
        assert.ok(total <= 101 << 20);
        assert.ok(process.memoryUsage.rss() - rss < 80 << 20, `${(process.memoryUsage.rss() - rss) >> 20} MiB more`);
      });

      if (compression === 'gzip') {
        it('takes zeros after the end, but nothing after the zeros', async () => {
          const packed = gzipSync(TEXT);
          for (const chunk of [packed.length, packed.length + 5, 1 << 20]) {
            assert.equal(await judge(Buffer.concat([packed, Buffer.alloc(600)]), chunk), 'ok');
            assert.equal(await judge(Buffer.concat([packed, Buffer.alloc(600), packed]), chunk), CORRUPT);
            assert.equal(await judge(Buffer.concat([packed, Buffer.alloc(600), Buffer.from('x')]), chunk), CORRUPT);
          }
        });

        it('refuses reserved flags in the header of any member, wherever it is cut', async () => {
          const good = gzipSync(TEXT.subarray(0, 300));
          const bad = Buffer.from(good);
          bad.writeUInt8(0x20, 3);
          for (const input of [bad, Buffer.concat([good, bad])]) {
            for (const chunk of [1, 3, good.length + 2, 1 << 20]) assert.equal(await judge(input, chunk), CORRUPT);
          }
        });

        it('reads a header with every optional field', async () => {
          const text = TEXT.subarray(0, 3000);
          const plain = gzipSync(text);
          const extra = Buffer.concat([Buffer.from([5, 0]), Buffer.from('extra'), Buffer.from('name\0comment\0')]);
          const header = Buffer.from(plain.subarray(0, 10));
          header[3] = 4 | 8 | 16;
          for (const chunk of [1 << 20, 3]) {
            assert.ok((await decode(Buffer.concat([header, extra, plain.subarray(10)]), chunk)).equals(text));
          }
        });
      } else if (compression === 'zstd') {
        it('skips skippable frames', async () => {
          const input = Buffer.concat([SKIPPABLE, pack(TEXT), SKIPPABLE, pack(NOISE), SKIPPABLE]);
          for (const chunk of [500, 1 << 20]) {
            assert.ok((await decode(input, chunk)).equals(Buffer.concat([TEXT, NOISE])));
          }
        });

        it('gets through 100,000 empty frames', { timeout: 10_000 }, async () => {
          const input = Buffer.concat(Array.from({ length: 100_000 }, () => EMPTY_FRAME));
          assert.equal((await decode(input)).length, 0);
        });

        it('takes a window of 128 MiB and refuses a larger one', { timeout: 20_000 }, async () => {
          assert.equal(await judge(windowOf(27)), 'ok');
          for (const log of [28, 31]) assert.equal(await judge(windowOf(log)), 'LARDER_LAYER_LIMIT');
        });
      } else {
        it('refuses any byte of a small stream that is another', async () => {
          const good = pack(TEXT.subarray(0, 300));
          const damaged = Buffer.from(good);
          for (const at of good.keys()) {
            damaged.writeUInt8(good.readUInt8(at) ^ 0x10, at);
            const found = await judge(damaged);
            damaged.writeUInt8(good.readUInt8(at), at);
            // Of bzip2 the level is only an upper bound, and the last byte ends with bits that nobody reads.
            if (compression === 'xz' || (at !== 3 && at !== good.length - 1))
              assert.equal(found, CORRUPT, `byte ${at}`);
          }
        });

        it('gets through 10,000 empty streams', { timeout: 20_000 }, async () => {
          const empty = pack(Buffer.alloc(0));
          const input = Buffer.concat(Array.from({ length: 10_000 }, () => empty));
          for (const chunk of [1009, 65_536]) assert.equal((await decode(input, chunk)).length, 0);
        });

        it('fills its buffer to the last byte', async () => {
          for (const length of [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20]) {
            const content = Buffer.alloc(length, 'larder ');
            const stream = pack(content);
            const twice = await decode(Buffer.concat([stream, stream]));
            assert.ok(twice.equals(Buffer.concat([content, content])), `${length} bytes`);
          }
        });
      }

      if (compression === 'bzip2') {
        it('refuses zeros after the end, as any other bytes', async () => {
          assert.equal(await judge(Buffer.concat([pack(TEXT), Buffer.alloc(600)])), CORRUPT);
        });
      }

      if (compression === 'xz') {
        it('takes padding of whole words between and after streams, and no other', async () => {
          const [one, two] = [pack(TEXT), pack(NOISE)];
          for (const chunk of [500, 1 << 20]) {
            const input = Buffer.concat([one, Buffer.alloc(8), two, Buffer.alloc(600)]);
            assert.ok((await decode(input, chunk)).equals(Buffer.concat([TEXT, NOISE])));
            assert.equal(await judge(Buffer.concat([one, Buffer.alloc(3)]), chunk), CORRUPT);
            assert.equal(await judge(Buffer.concat([Buffer.alloc(4), one]), chunk), CORRUPT);
          }
        });

        it('reads every kind of check', async () => {
          for (const check of ['none', 'crc32', 'crc64', 'sha256']) {
            assert.ok((await decode(packed('xz', TEXT, '-1', `--check=${check}`))).equals(TEXT), check);
          }
        });

        it('takes what xz -9 makes, and refuses what needs much more memory', async () => {
          assert.ok((await decode(packed('xz', TEXT, '-9'))).equals(TEXT));
          assert.equal(await judge(largeDictionary()), 'LARDER_LAYER_LIMIT');
        });
      }
    });
  }

  it('gzip decoders agree about damaged streams', async () => {
    const sources = [gzipSync(TEXT.subarray(0, 4000)), gzipSync(NOISE.subarray(0, 300))];
    const names = await listDecoders('gzip');
    let refused = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const damaged = Buffer.from(sources[seed % sources.length] ?? []);
      const at = (seed * 2_654_435_761) % damaged.length;
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (seed % 8)), at);
      const verdicts = await Promise.all(names.map((name) => verdict('gzip', name, damaged)));
      assert.equal(new Set(verdicts).size, 1, `byte ${at}: ${verdicts.join(' ')}`);
      if (verdicts[0] === CORRUPT) refused += 1;
    }
    assert.ok(refused > 150);
  });

  it('refuse a decoder that does not exist for the compression', async () => {
    await assert.rejects(openInflater('gzip', { prefer: 'libzstd' }), (error) =>
      isLarderError(error, 'LARDER_INTERNAL'),
    );
  });

  it('pass uncompressed bytes on without a copy', async () => {
    const inflater = await openInflater('none');
    const chunk = Buffer.from('plain');
    const seen: Uint8Array[] = [];
    await inflater.write(chunk, (bytes) => void seen.push(bytes));
    await inflater.end((bytes) => void seen.push(bytes));
    assert.ok(seen.length === 1 && seen[0] === chunk);
  });
});

describe('sniffing', () => {
  it('tells compressions by their first bytes', () => {
    const magics = [
      '1f8b08',
      '28b52ffd',
      '502a4d18',
      '5f2a4d18',
      'fd377a585a00',
      '425a68393141',
      '425a68311772',
      '425a68',
      '425a68302f00',
      '04224d18',
      '504b0304',
      '1f',
      '',
    ];
    assert.deepEqual(
      magics.map((magic) => sniffCompression(Buffer.from(magic, 'hex'))),
      ['gzip', 'zstd', 'zstd', 'zstd', 'xz', 'bzip2', 'bzip2', 'none', 'none', 'lz4', 'zip', 'none', 'none'],
    );
  });

  it('accepts bytes that are what the media type says', () => {
    checkCompression('gzip', gzipSync('x'));
    checkCompression('zstd', EMPTY_FRAME);
    checkCompression('none', Buffer.from('usr/'));
    checkCompression('none', Buffer.alloc(0));
  });

  it('refuses bytes that are not, and says what they are', () => {
    const pairs: [Compression, Buffer, RegExp][] = [
      ['gzip', EMPTY_FRAME, /says gzip, the bytes are zstd/],
      ['zstd', gzipSync('x'), /says zstd, the bytes are gzip/],
      ['none', gzipSync('x'), /says uncompressed, the bytes are gzip/],
      ['gzip', Buffer.from('usr/'), /says gzip, the bytes are no known compression/],
      ['gzip', Buffer.alloc(0), /says gzip, the bytes are nothing/],
      ['none', Buffer.from('fd377a585a00', 'hex'), /says uncompressed, the bytes are xz/],
    ];
    for (const [declared, first, message] of pairs) {
      assert.throws(
        () => checkCompression(declared, first, 'l'),
        (error) => isLarderError(error, 'LARDER_LAYER_INVALID') && message.test(error.message),
      );
    }
  });
});

const bombs = new Map<Compression, Buffer>();

/** 64 MiB of zeros. */
function bombOf(compression: Compression): Buffer {
  const known = bombs.get(compression);
  if (known !== undefined) return known;
  const zeros = Buffer.alloc(64 << 20);
  const bomb = compression === 'zstd' ? frame(zeros, '-19') : packWith(compression, zeros);
  bombs.set(compression, bomb);
  return bomb;
}

/** A small stream whose first block asks for a dictionary of 1 GiB: header byte and its CRC changed (xz format, 3.1). */
function largeDictionary(): Buffer {
  const stream = packed('xz', TEXT.subarray(0, 300));
  const header = 12;
  const size = (stream.readUInt8(header) + 1) * 4;
  const filter = stream.indexOf(Buffer.from([0x21, 0x01]), header);
  assert.ok(filter > 0 && filter < header + size, 'the filter LZMA2 and its one byte of properties');
  stream.writeUInt8(36, filter + 2);
  stream.writeUInt32LE(crc32(stream.subarray(header, header + size - 4)), header + size - 4);
  return stream;
}

/** The polynomial of gzip and xz. */
function crc32(bytes: Uint8Array): number {
  return gzipSync(bytes).readUInt32LE(gzipSync(bytes).length - 8);
}

/** One raw block of a byte in a frame that asks for a window of 2^log bytes. */
function windowOf(log: number): Buffer {
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3, 0x09, 0x00, 0x00, 0x41]);
}
