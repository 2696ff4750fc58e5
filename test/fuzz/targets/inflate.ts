/** Compressed streams. Where there are two decoders of one format, they must say the same of all bytes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { isLarderError } from '../../../src/errors.js';
import { type Compression, type DecoderName, listDecoders, openInflater } from '../../../src/tar/compression.js';
import { zstdFrame } from '../../../src/testing/image-builder.js';
import { mutateBytes } from '../mutate.js';
import type { FuzzTarget } from '../target.js';

const CODES = ['LARDER_LAYER_CORRUPT', 'LARDER_LAYER_LIMIT'] as const;
const PLAIN = Buffer.from(Array.from({ length: 4000 }, (_, i) => (i * i) >> (i % 7)));
/** What came out is the answer up to here: a bomb need not burst. */
const MAX_OUT = 64 << 20;

export async function openInflateTarget(compression: Compression): Promise<FuzzTarget | undefined> {
  const decoders = await listDecoders(compression);
  const examples = examplesOf(compression);
  if (decoders.length === 0 || examples.length === 0) return undefined;
  return {
    name: `inflate-${compression}`,
    codes: CODES,
    short: { runs: 80, meets: ['ok', 'LARDER_LAYER_CORRUPT'] },
    make: (random) =>
      Buffer.concat(random.oneIn(3) ? [random.pick(examples), random.pick(examples)] : [random.pick(examples)]),
    mutate: mutateBytes,
    async run(input) {
      const answers = [];
      for (const decoder of decoders) answers.push(await inflate(compression, decoder, input));
      const [first, ...others] = answers;
      for (const other of others) assert.deepEqual(verdictOf(other), verdictOf(first), decoders.join(' and '));
      if (first?.refusal !== undefined) throw first.refusal;
      return first?.sha256;
    },
    budgetMs: (input) => 500 + input.length / 50,
  };
}

interface Inflated {
  readonly sha256?: string;
  readonly refusal?: Error & { readonly code: string };
}

/** Decoders put out more or less before they see what is wrong. */
function verdictOf(inflated: Inflated | undefined): string | undefined {
  return inflated?.refusal?.code ?? inflated?.sha256;
}

class TooMuch extends Error {}

async function inflate(compression: Compression, prefer: DecoderName, input: Buffer): Promise<Inflated> {
  const inflater = await openInflater(compression, { prefer });
  const hash = createHash('sha256');
  let length = 0;
  const out = (bytes: Uint8Array): void => {
    length += bytes.length;
    if (length > MAX_OUT) throw new TooMuch();
    hash.update(bytes);
  };
  try {
    // Copies: what a decoder was given is its own.
    for (let i = 0; i < input.length; i += 1000) await inflater.write(Buffer.from(input.subarray(i, i + 1000)), out);
    await inflater.end(out);
    return { sha256: hash.digest('hex') };
  } catch (error) {
    if (error instanceof TooMuch) return { sha256: 'too much' };
    if (!isLarderError(error, ...CODES)) throw error;
    return { refusal: error };
  } finally {
    inflater.close();
  }
}

function examplesOf(compression: Compression): Buffer[] {
  switch (compression) {
    case 'gzip':
      return [
        gzipSync(PLAIN),
        gzipSync(PLAIN, { level: 0 }),
        gzipSync(Buffer.alloc(0)),
        gzipSync(Buffer.alloc(70_000)),
      ];
    case 'zstd':
      return [Buffer.from(zstdFrame(PLAIN)), ...made('zstd', '-q', '-19'), ...made('zstd', '-q', '--check', '-1')];
    case 'bzip2':
      return made('bzip2', '-1');
    case 'xz':
      return [...made('xz', '-0'), ...made('xz', '-0', '--check=none')];
    default:
      return [];
  }
}

/** What the program of this machine makes of it; nothing where there is none. */
function made(program: string, ...options: readonly string[]): Buffer[] {
  const { status, stdout } = spawnSync(program, [...options, '-c'], { input: PLAIN });
  return status === 0 ? [stdout] : [];
}
