import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
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
];
const zstdCli = spawnSync('zstd', ['--version']).status === 0;

const TEXT = Buffer.from(Array.from({ length: 60_000 }, (_, i) => `${(i * 7919) % 10_007} larder ${i}\n`).join(''));
const NOISE = randomBytes(300_000);
const CORRUPT = 'LARDER_LAYER_CORRUPT';

/** RFC 8878, 3.1.2. */
const SKIPPABLE = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
/** Frame of no bytes: magic, descriptor (single segment, content size 0), one last empty raw block. */
const EMPTY_FRAME = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00]);

function frame(content: Uint8Array, ...args: string[]): Buffer {
  const made = spawnSync('zstd', ['-q', '-c', '--check', ...args], { input: content, maxBuffer: 1 << 28 });
  assert.equal(made.status, 0, made.stderr.toString());
  return made.stdout;
}

async function inflate(compression: Compression, prefer: (typeof DECODERS)[number][1], input: Buffer, chunk = 65_536) {
  const inflater = await openInflater(compression, { prefer, name: 'test' });
  const pieces: Buffer[] = [];
  try {
    for (let i = 0; i < input.length; i += chunk) {
      await inflater.write(input.subarray(i, i + chunk), (bytes) => pieces.push(Buffer.from(bytes)));
    }
    await inflater.end((bytes) => pieces.push(Buffer.from(bytes)));
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
  it('exist for both compressions', () => {
    assert.ok(DECODERS.some(([, name]) => name === 'zlib'));
    assert.ok(DECODERS.some(([compression]) => compression === 'zstd'));
  });

  for (const [compression, name] of DECODERS) {
    describe(name, { skip: compression === 'zstd' && !zstdCli ? 'the zstd command is missing' : false }, () => {
      const pack = (content: Uint8Array) => (compression === 'gzip' ? gzipSync(content) : frame(content));
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
        const bomb = compression === 'gzip' ? bombOfGzip() : frame(Buffer.alloc(64 << 20), '-19');
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
      } else {
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
          for (const log of [28, 31]) assert.equal(await judge(windowOf(log)), CORRUPT);
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
    await inflater.write(chunk, (bytes) => seen.push(bytes));
    await inflater.end((bytes) => seen.push(bytes));
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
      '425a68',
      '04224d18',
      '504b0304',
      '1f',
      '',
    ];
    assert.deepEqual(
      magics.map((magic) => sniffCompression(Buffer.from(magic, 'hex'))),
      ['gzip', 'zstd', 'zstd', 'zstd', 'xz', 'bzip2', 'lz4', 'zip', 'none', 'none'],
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

let gzipBomb: Buffer | undefined;

function bombOfGzip(): Buffer {
  gzipBomb ??= gzipSync(Buffer.alloc(64 << 20));
  return gzipBomb;
}

/** One raw block of a byte in a frame that asks for a window of 2^log bytes. */
function windowOf(log: number): Buffer {
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3, 0x09, 0x00, 0x00, 0x41]);
}
