import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobInput } from '../../src/layers/blob-input.js';
import { DownloadFile } from '../../src/layers/download-file.js';

const directory = mkdtempSync(join(tmpdir(), 'larder-after-'));
after(() => rmSync(directory, { recursive: true }));

describe('a decoder that has failed', () => {
  it('gets no further block, neither one that waited nor one that was gathered', async () => {
    let blocks = 0;
    const input = new BlobInput(createHash('sha256'), async () => {
      blocks++;
      await sleep(5);
      throw new RangeError('too large');
    });
    const file = DownloadFile.open(join(directory, 'data'), 10_000_000);
    input.keepIn(file);
    // Three blocks of 512 KiB: one at the decoder, one that waits, one that is gathered.
    await input.write(Buffer.alloc(1_300_000, 1));
    await assert.rejects(() => input.flush(), RangeError);
    await input.stop();
    file.close();
    assert.equal(blocks, 1);
  });
});
