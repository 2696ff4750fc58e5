import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { isLarderError } from '../../src/errors.js';
import { type DecoderName, type Inflater, listDecoders, openInflater } from '../../src/tar/compression.js';
import { zstdFrame } from '../../src/testing/image-builder.js';

const MIB = 1 << 20;
/** Twelve megabytes: some that hardly compress, some that do, all different. */
const CONTENT = Buffer.concat([
  randomBytes(3 * MIB),
  Buffer.from(Array.from({ length: 400_000 }, (_, i) => `${i * i} larder\n`).join('')),
  randomBytes(2 * MIB),
]);
const INPUTS = new Map<DecoderName, Buffer>();
for (const name of await listDecoders('gzip')) INPUTS.set(name, gzipSync(CONTENT, { level: 1 }));
for (const name of await listDecoders('zstd')) INPUTS.set(name, zstdFrame(CONTENT));

async function opened(name: DecoderName): Promise<Inflater> {
  return openInflater(name === 'isa-l' || name === 'zlib' ? 'gzip' : 'zstd', { prefer: name });
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

for (const [name, input] of INPUTS) {
  describe(`${name}, whose receiver keeps bytes for a while`, () => {
    it('leaves them alone until they are given back, and gives all in order', { timeout: 30_000 }, async () => {
      const inflater = await opened(name);
      const whole = createHash('sha256');
      let out = 0;
      let most = 0;
      const take = async (bytes: Uint8Array): Promise<void> => {
        most = Math.max(most, ++out);
        whole.update(bytes);
        const before = sha256(bytes);
        await sleep(Math.random() * 4);
        assert.equal(sha256(bytes), before, 'the bytes changed while they were lent');
        out--;
      };
      for (let i = 0; i < input.length; i += 400_001) await inflater.write(input.subarray(i, i + 400_001), take);
      await inflater.end(take);
      inflater.close();
      assert.equal(out, 0, 'the end did not wait for its receiver');
      assert.equal(whole.digest('hex'), sha256(CONTENT));
      assert.ok(most <= 4, `${most} blocks were lent at once`);
    });

    it('fails with what the receiver rejects with', { timeout: 30_000 }, async () => {
      const inflater = await opened(name);
      const stop = new RangeError('no room');
      let calls = 0;
      const take = async (): Promise<void> => {
        await sleep(1);
        if (++calls === 3) throw stop;
      };
      const work = async (): Promise<void> => {
        for (let i = 0; i < input.length; i += 65_536) await inflater.write(input.subarray(i, i + 65_536), take);
        await inflater.end(take);
      };
      await assert.rejects(work, (error) => error === stop);
      inflater.close();
    });

    it('refuses a stream that is damaged in the middle', { timeout: 30_000 }, async () => {
      const damaged = Buffer.from(input);
      // More than a block of zstd, so that a block's header is among it: these frames have no checksum.
      damaged.fill(0x5a, input.length >> 1, (input.length >> 1) + 200_000);
      const inflater = await opened(name);
      let given = 0;
      const take = async (bytes: Uint8Array): Promise<void> => {
        given += bytes.length;
        await sleep(1);
      };
      const work = async (): Promise<void> => {
        for (let i = 0; i < damaged.length; i += 500_000) await inflater.write(damaged.subarray(i, i + 500_000), take);
        await inflater.end(take);
      };
      await assert.rejects(work, (error) => isLarderError(error, 'LARDER_LAYER_CORRUPT'));
      inflater.close();
      assert.ok(given > 0);
    });

    it('goes on to the next member where a chunk ends with one', async () => {
      const part = (from: number, to: number): Buffer => {
        const bytes = CONTENT.subarray(from, to);
        return input[0] === 0x1f ? gzipSync(bytes, { level: 1 }) : zstdFrame(bytes);
      };
      const members = [part(0, 2 * MIB), part(2 * MIB, 2 * MIB), part(2 * MIB, 5 * MIB)];
      const inflater = await opened(name);
      const whole = createHash('sha256');
      const take = (bytes: Uint8Array): void => void whole.update(bytes);
      for (const member of members) await inflater.write(member, take);
      await inflater.end(take);
      inflater.close();
      assert.equal(whole.digest('hex'), sha256(CONTENT.subarray(0, 5 * MIB)));
    });
  });
}
