import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createGzip, gzipSync } from 'node:zlib';
import { parseDigest } from '../../src/spec/digest.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { BlobServer, diffIdOf, GZIP, Lab, PLAIN } from './lab.js';

const MIB = 1 << 20;

describe('the layer pipeline’s use of memory and disk', () => {
  it('holds a layer of one gigabyte in bounded memory', { timeout: 120_000 }, async () => {
    await using lab = await Lab.open();
    await using server = await BlobServer.start();
    // Half noise, half zeros, compressed once as a stream: 64 MiB of gzip members, 16 times.
    const header = file('big', '', { size: 1024 * MIB }).subarray(0, 512);
    const noise = randomBytes(2 * MIB);
    const chunk = Buffer.concat(Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? noise : Buffer.alloc(2 * MIB))));
    const members = [gzipSync(header, { level: 1 }), await gzipped(chunk), gzipSync(Buffer.alloc(1024), { level: 1 })];
    const pieces = [members[0], ...Array.from({ length: 32 }, () => members[1]), members[2]].filter(
      (piece) => piece !== undefined,
    );
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const hash = createHash('sha256');
    for (const piece of pieces) hash.update(piece);
    const digest = parseDigest(`sha256:${hash.digest('hex')}`);
    server.addBody(digest, size, async (response) => {
      for (const piece of pieces) if (!response.write(piece)) await once(response, 'drain');
      response.end();
    });
    const outDir = join(lab.layout.root, 'out');
    await lab.pool.run('verify', { path: import.meta.filename });
    const idle = process.memoryUsage.rss();
    let peak = idle;
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, 20);
    const job = { ...lab.job(Buffer.alloc(0), GZIP, outDir), digest, size };
    const result = await lab.write(job, server);
    clearInterval(timer);
    assert.equal(result.tarSize, 1024 * MIB + 512 + 1024);
    const over = (peak - idle) / MIB;
    assert.ok(over < 120, `${over.toFixed(0)} MiB over idle`);
  });

  const skip = process.getuid?.() === 0 ? false : 'needs root to mount a small file system';
  for (const [what, mib] of [
    ['the tar', 8],
    ['the download', 2],
    ['the index', 5],
  ] as const) {
    it(`says that the disk is full and leaves nothing staged (${what} does not fit)`, { skip }, async () => {
      await using lab = await Lab.open();
      await using server = await BlobServer.start();
      const disk = await mkdtemp(join(tmpdir(), 'larder-full-'));
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'none', disk]);
      try {
        const bytes = layerFor(what);
        const blob = gzipSync(bytes, { level: 1 });
        const job = lab.job(blob, GZIP, join(disk, 'out'), {
          ingestData: what === 'the download' ? join(disk, 'data') : lab.ingestData,
        });
        server.add(job.digest ?? assert.fail(), blob);
        await mkdir(job.outDir);
        await assert.rejects(lab.write(job, server), { code: 'LARDER_NO_SPACE' });
        assert.deepEqual(await readdir(job.outDir), []);
        // What was received is worth keeping: with room again, only the rest is fetched.
        assert.ok(statSync(job.ingestData ?? '').size > 0);
        execFileSync('mount', ['-o', 'remount,size=200m', disk]);
        const result = await lab.write(job, server);
        assert.ok(result.resumedFrom > 0);
        assert.equal(result.diffId, diffIdOf(bytes));
      } finally {
        // Busy would mean that the thread still has one of its files open.
        execFileSync('umount', [disk]);
        await rm(disk, { recursive: true });
      }
    });
  }

  it('writes holes of an extra file as holes', async () => {
    await using lab = await Lab.open();
    const { sparse } = await import('../../src/testing/tar-builder.js');
    const bytes = tar([sparse('odd', 1 << 30, [{ offset: 100, data: 'x' }], '1.0')]);
    const path = join(lab.layout.root, 'source');
    writeFileSync(path, bytes);
    const { ingestData: _, ...job } = lab.job(bytes, PLAIN, join(lab.layout.root, 'out'));
    const { extra } = await lab.write({ ...job, source: { kind: 'file', path, offset: 0 } });
    assert.ok(extra !== undefined);
    assert.equal(statSync(extra.path).size, 1 << 30);
    assert.ok(statSync(extra.path).blocks * 512 < MIB);
    assert.equal(readFileSync(extra.path).indexOf('x'), 100);
    rmSync(path);
  });
});

function layerFor(what: 'the tar' | 'the download' | 'the index'): Buffer {
  if (what === 'the index') return tar(Array.from({ length: 9000 }, (_, i) => file(`${'n'.repeat(90)}${i}`)));
  return tar([file('big', randomBytes(12 * MIB))]);
}

async function gzipped(bytes: Buffer): Promise<Buffer> {
  const gzip = createGzip({ level: 1 });
  gzip.end(bytes);
  const parts: Buffer[] = [];
  for await (const part of gzip) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
