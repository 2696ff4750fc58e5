/** What zlib's stream does between two calls of its driver: bytes were lost there, and failures forgotten. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { openInflater } from '../../src/tar/compression.js';

describe('gzip through zlib, beside a disk that is slower than the network', () => {
  it('keeps what comes while nobody asks, for the next call', async () => {
    const plain = randomBytes(60_000);
    const stream = gzipSync(plain);
    const inflater = await openInflater('gzip', { name: 'slow', prefer: 'zlib' });
    const came: Buffer[] = [];
    const release: (() => void)[] = [];
    let isStuck = true;
    const out = (bytes: Uint8Array): Promise<void> => {
      came.push(Buffer.from(bytes));
      return isStuck ? new Promise((resolve) => release.push(resolve)) : Promise.resolve();
    };
    // Four pieces: three wait for the disk, the fourth in the stream, and all calls have been answered.
    for (let i = 0; i < 24_000; i += 6000) await inflater.write(stream.subarray(i, i + 6000), out);
    isStuck = false;
    for (const go of release) go();
    await sleep(20);
    await inflater.write(stream.subarray(24_000), out);
    await inflater.end(out);
    inflater.close();
    assert.ok(Buffer.concat(came).equals(plain));
  });

  it('ends with what failed after the last call', { timeout: 10_000 }, async () => {
    const inflater = await openInflater('gzip', { name: 'full', prefer: 'zlib' });
    const out = async (): Promise<void> => {
      await sleep(5);
      throw new Error('the disk is full');
    };
    await inflater.write(gzipSync(randomBytes(50_000)), out);
    await sleep(50);
    await assert.rejects(async () => {
      await inflater.end(out);
    }, /the disk is full/);
    inflater.close();
  });
});
