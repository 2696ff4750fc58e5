import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobInput } from '../../src/layers/blob-input.js';
import { DownloadFile } from '../../src/layers/download-file.js';
import { OrderedWrites } from '../../src/layers/ordered-writes.js';

const BYTES = randomBytes(5_000_000);
const directory = mkdtempSync(join(tmpdir(), 'larder-input-'));
after(() => rmSync(directory, { recursive: true }));

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Pieces of sizes that fit nothing; each is overwritten when it has been taken. */
async function feed(input: BlobInput, bytes: Uint8Array, most = 100_000): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const piece = Buffer.from(bytes.subarray(at, at + 1 + Math.floor(Math.random() * most)));
    at += piece.length;
    await input.write(piece);
    piece.fill(0xaa);
  }
}

describe('the compressed half of the pipeline', () => {
  it('hashes, keeps and hands on every byte once and in order, one block at a time', async () => {
    const hash = createHash('sha256');
    const taken = createHash('sha256');
    let busy = 0;
    const input = new BlobInput(hash, async (block) => {
      assert.equal(++busy, 1);
      const before = sha256(block);
      await sleep(Math.random() * 3);
      assert.equal(sha256(block), before, 'the block changed while it was in use');
      taken.update(block);
      busy--;
    });
    const file = DownloadFile.open(join(directory, 'a'), BYTES.length);
    await feed(input, BYTES.subarray(0, 1_000_000));
    await input.flush();
    input.keepIn(file);
    await feed(input, BYTES.subarray(1_000_000));
    await input.flush();
    file.close();
    assert.equal(hash.digest('hex'), sha256(BYTES));
    assert.equal(taken.digest('hex'), sha256(BYTES));
    assert.ok(readFileSync(join(directory, 'a')).equals(BYTES.subarray(1_000_000)));
  });

  it('hands on what there is when nothing else is to be done', async () => {
    const sizes: number[] = [];
    const input = new BlobInput(createHash('sha256'), async (block) => void sizes.push(block.length));
    for (let i = 0; i < 3; i++) {
      await input.write(Buffer.alloc(7));
      await sleep(1);
    }
    assert.deepEqual(sizes, [7, 7, 7]);
    await input.flush();
  });

  it('gathers tiny pieces while a block is in use', async () => {
    let blocks = 0;
    const input = new BlobInput(createHash('sha256'), async () => {
      blocks++;
      await sleep(20);
    });
    await feed(input, BYTES.subarray(0, 20_000), 3);
    await input.flush();
    assert.ok(blocks <= 4, `${blocks} blocks`);
  });

  it('makes its source wait when blocks are not done with', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const input = new BlobInput(createHash('sha256'), () => held);
    const feeding = feed(input, BYTES);
    const state = await Promise.race([feeding.then(() => 'all taken'), sleep(50).then(() => 'waiting')]);
    release();
    await feeding;
    await input.flush();
    assert.equal(state, 'waiting');
  });

  it('fails with what its decoder fails with, and keeps what came when it is stopped', async () => {
    const stop = new RangeError('enough');
    const input = new BlobInput(createHash('sha256'), () => Promise.reject(stop));
    const file = DownloadFile.open(join(directory, 'b'), BYTES.length);
    input.keepIn(file);
    let sent = 0;
    const work = async (): Promise<void> => {
      for (; sent < BYTES.length; sent += 50_000) {
        await input.write(BYTES.subarray(sent, sent + 50_000));
        await sleep(0);
      }
    };
    await assert.rejects(work, (error) => error === stop);
    await input.stop();
    file.close();
    assert.ok(sent > 0);
    assert.ok(readFileSync(join(directory, 'b')).equals(BYTES.subarray(0, sent)));
  });

  it('fails when the file fails, with its code', async () => {
    const input = new BlobInput(createHash('sha256'), async () => {});
    const file = DownloadFile.open('/dev/full', BYTES.length);
    input.keepIn(file);
    await assert.rejects(
      async () => {
        await feed(input, BYTES);
        await input.flush();
      },
      { code: 'LARDER_NO_SPACE' },
    );
    await input.stop();
    file.close();
  });
});

describe('ordered writes', () => {
  it('write nothing more after the first failure', async () => {
    const writes = new OrderedWrites(openSync('/dev/full', 'r+'), 0);
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => writes.append(Buffer.alloc(10))));
    const codes = outcomes.map((outcome) =>
      outcome.status === 'rejected' && outcome.reason instanceof Error
        ? Reflect.get(outcome.reason, 'code')
        : 'written',
    );
    assert.deepEqual(codes, ['ENOSPC', 'ENOSPC', 'ENOSPC']);
  });
});
