import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ErrorCode } from '../../src/errors.js';
import { digestOf } from '../../src/spec/digest.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { zstdFrame } from '../../src/testing/image-builder.js';
import { dir, file, symlink, tar } from '../../src/testing/tar-builder.js';
import { decodeLayerIndex } from '../../src/tree/layer-index.js';
import { BlobServer, diffIdOf, GZIP, Lab, PLAIN, ZSTD } from './lab.js';

/** A few megabytes that hardly compress, and some that do. */
const TAR = tar([
  dir('etc'),
  file('etc/hostname', 'larder\n'),
  file('big', randomBytes(3 << 20)),
  file('zeros', Buffer.alloc(3 << 20)),
  symlink('link', 'big'),
]);
const BLOB = gzipSync(TAR, { level: 1 });

describe('the layer pipeline', () => {
  let lab: Lab;
  let server: BlobServer;
  let outDir: string;

  beforeEach(async () => {
    lab = await Lab.open();
    server = await BlobServer.start();
    outDir = join(lab.layout.root, 'out');
    await mkdir(outDir);
  });

  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    await lab[Symbol.asyncDispose]();
  });

  /** A refusal leaves nothing staged, and the download only when it may still be right. */
  async function refuses(work: Promise<unknown>, code: ErrorCode, prefix: 'kept' | 'dropped'): Promise<void> {
    await assert.rejects(work, { code });
    assert.deepEqual(await readdir(outDir), [], 'something stayed in staging');
    assert.equal(existsSync(lab.ingestData) && statSync(lab.ingestData).size > 0, prefix === 'kept');
  }

  for (const [name, mediaType, blob] of [
    ['gzip', GZIP, BLOB],
    ['zstd', ZSTD, zstdFrame(TAR)],
    ['uncompressed', PLAIN, TAR],
    ['undeclared gzip', undefined, BLOB],
  ] as const) {
    it(`turns a layer into its tar, its index and its DiffID: ${name}`, async () => {
      server.add(digestOf(blob), blob);
      const result = await lab.write(lab.job(blob, mediaType, outDir, { expectedDiffId: diffIdOf(TAR) }), server);
      const stored = readFileSync(join(outDir, 'layer', 'layer.tar'));
      assert.ok(stored.equals(TAR));
      assert.equal(statSync(join(outDir, 'layer', 'layer.tar')).mode & 0o777, 0o400);
      assert.equal(result.diffId, diffIdOf(TAR));
      assert.equal(result.digest, digestOf(blob));
      assert.equal(result.entries, 5);
      assert.equal(result.received, blob.length);
      const index = readFileSync(result.index.path);
      assert.equal(createHash('sha256').update(index).digest('hex'), result.index.sha256);
      assert.equal(decodeLayerIndex(index).count, 5);
      assert.ok(readFileSync(lab.ingestData).equals(blob), 'the compressed bytes are kept for who wants them');
    });
  }

  it('verifies sha512 digests', async () => {
    const digest = digestOf(BLOB, 'sha512');
    server.add(digest, BLOB);
    assert.equal((await lab.write(lab.job(BLOB, GZIP, outDir, { digest }), server)).digest, digest);
  });

  it('reads a layer that is a part of a file', async () => {
    const path = join(lab.layout.root, 'archive');
    writeFileSync(path, Buffer.concat([randomBytes(777), BLOB, randomBytes(99)]));
    const { ingestData: _, ...job } = lab.job(BLOB, GZIP, outDir);
    const result = await lab.write({ ...job, source: { kind: 'file', path, offset: 777 } });
    assert.equal(result.diffId, diffIdOf(TAR));
  });

  it('computes the digest of a layer in an archive that names only its DiffID', async () => {
    const path = join(lab.layout.root, 'archive');
    writeFileSync(path, BLOB);
    const { digest: _d, ingestData: _i, ...job } = lab.job(BLOB, undefined, outDir, { expectedDiffId: diffIdOf(TAR) });
    const result = await lab.write({ ...job, source: { kind: 'file', path, offset: 0 } });
    assert.equal(result.digest, digestOf(BLOB));
  });

  for (const command of ['bzip2', 'xz'] as const) {
    const missing = spawnSync(command, ['--help']).status === 0 ? false : `the ${command} command is missing`;
    it(`inflates ${command} where nothing declares the compression, and nowhere else`, { skip: missing }, async () => {
      const blob = execFileSync(command, ['-c', '-1'], { input: TAR, maxBuffer: 1 << 26 });
      const path = join(lab.layout.root, 'archive');
      writeFileSync(path, blob);
      const { ingestData: _, ...job } = lab.job(blob, undefined, outDir, { source: { kind: 'file', path, offset: 0 } });
      for (const mediaType of [GZIP, PLAIN]) {
        await refuses(lab.write({ ...job, mediaType }), 'LARDER_LAYER_INVALID', 'dropped');
      }
      assert.equal((await lab.write(job)).diffId, diffIdOf(TAR));
    });
  }

  for (const [name, blob] of [
    ['compressed', BLOB],
    ['uncompressed', TAR],
  ] as const) {
    it(`makes the SHA-512 of a tar for a job that names no digest: ${name}`, async () => {
      const path = join(lab.layout.root, 'archive');
      writeFileSync(path, blob);
      const { digest: _d, ingestData: _i, ...job } = lab.job(blob, undefined, outDir, { tarSha512: true });
      const result = await lab.write({ ...job, source: { kind: 'file', path, offset: 0 } });
      assert.equal(result.tarSha512, createHash('sha512').update(TAR).digest('hex'));
      assert.equal(result.diffId, diffIdOf(TAR));
      assert.equal(result.digest, digestOf(blob));
    });
  }

  it('makes no SHA-512 unless it is asked for', async () => {
    server.add(digestOf(BLOB), BLOB);
    assert.ok(!('tarSha512' in (await lab.write(lab.job(BLOB, GZIP, outDir), server))));
  });

  it('names the file where a job without digests fails', async () => {
    const path = join(lab.layout.root, 'some.aci');
    writeFileSync(path, BLOB.subarray(0, -9));
    const cut = lab.job(BLOB.subarray(0, -9), undefined, outDir, { tarSha512: true });
    const { digest: _d, ingestData: _i, ...job } = cut;
    await assert.rejects(lab.write({ ...job, source: { kind: 'file', path, offset: 0 } }), (error: Error) =>
      error.message.includes(path),
    );
    assert.deepEqual(await readdir(outDir), []);
  });

  it('refuses a job that says nothing of what its bytes must be', async () => {
    const path = join(lab.layout.root, 'archive');
    writeFileSync(path, BLOB);
    const { digest: _d, ingestData: _i, ...job } = lab.job(BLOB, undefined, outDir);
    await refuses(lab.write({ ...job, source: { kind: 'file', path, offset: 0 } }), 'LARDER_INTERNAL', 'dropped');
  });

  it('refuses bytes that differ in one place', async () => {
    for (const at of [0, 9, 40, BLOB.length >> 1, BLOB.length - 6, BLOB.length - 1]) {
      const bad = Buffer.from(BLOB);
      bad[at] = (bad[at] ?? 0) ^ 1;
      server.add(digestOf(BLOB), bad);
      await refuses(lab.write(lab.job(BLOB, GZIP, outDir), server), 'LARDER_DIGEST_MISMATCH', 'dropped');
    }
  });

  it('refuses an uncompressed layer that differs in one place', async () => {
    const bad = Buffer.from(TAR);
    bad[2_000_000] = (bad[2_000_000] ?? 0) ^ 1;
    server.add(digestOf(TAR), bad);
    await refuses(lab.write(lab.job(TAR, PLAIN, outDir), server), 'LARDER_DIGEST_MISMATCH', 'dropped');
  });

  it('refuses a registry that sends more or less than the size', async () => {
    server.add(digestOf(BLOB), BLOB);
    for (const size of [BLOB.length - 1, BLOB.length + 1, 1]) {
      await refuses(lab.write(lab.job(BLOB, GZIP, outDir, { size }), server), 'LARDER_SIZE_MISMATCH', 'dropped');
    }
  });

  it('refuses a file that ends before the layer does', async () => {
    const path = join(lab.layout.root, 'archive');
    writeFileSync(path, BLOB.subarray(0, -10));
    const { ingestData: _, ...job } = lab.job(BLOB, GZIP, outDir);
    const work = lab.write({ ...job, source: { kind: 'file', path, offset: 0 } });
    await refuses(work, 'LARDER_SIZE_MISMATCH', 'dropped');
  });

  it('refuses a tar whose DiffID is not the one that the config names', async () => {
    server.add(digestOf(BLOB), BLOB);
    const job = lab.job(BLOB, GZIP, outDir, { expectedDiffId: diffIdOf(Buffer.from('another')) });
    await refuses(lab.write(job, server), 'LARDER_DIFF_ID_MISMATCH', 'dropped');
  });

  for (const [name, bytes, code] of [
    ['a gzip stream that was pushed cut off', BLOB.subarray(0, BLOB.length - 5), 'LARDER_LAYER_CORRUPT'],
    ['gzip of what is no tar', gzipSync(randomBytes(100_000)), 'LARDER_LAYER_INVALID'],
    ['a tar that is cut off', gzipSync(TAR.subarray(0, 3_000_000)), 'LARDER_LAYER_INVALID'],
    ['a compression that is not the declared one', TAR, 'LARDER_LAYER_INVALID'],
  ] as const) {
    it(`refuses ${name}, with the right digest`, async () => {
      server.add(digestOf(bytes), bytes);
      await refuses(lab.write(lab.job(bytes, GZIP, outDir), server), code, 'dropped');
    });
  }

  it('refuses media types that are no layer', async () => {
    server.add(digestOf(BLOB), BLOB);
    const work = lab.write(lab.job(BLOB, 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted', outDir), server);
    await refuses(work, 'LARDER_MEDIA_TYPE_UNSUPPORTED', 'dropped');
  });

  it('stops a bomb at the limit', async () => {
    const limits = { ...DEFAULT_LAYER_LIMITS, maxTarBytes: 1 << 20 };
    server.add(digestOf(BLOB), BLOB);
    await refuses(lab.write(lab.job(BLOB, GZIP, outDir, { limits }), server), 'LARDER_LAYER_LIMIT', 'dropped');
  });

  it('refuses a layer that grows too much, and takes one that grows less', async () => {
    const bomb = gzipSync(tar([file('zeros', Buffer.alloc(3 << 20))]));
    const ratio = (maxRatio: number) => ({ limits: { ...DEFAULT_LAYER_LIMITS, maxRatio, ratioFreeBytes: 1 << 20 } });
    server.add(digestOf(bomb), bomb);
    await refuses(lab.write(lab.job(bomb, GZIP, outDir, ratio(500)), server), 'LARDER_LAYER_LIMIT', 'dropped');
    await lab.write(lab.job(bomb, GZIP, outDir, ratio(1100)), server);
  });

  it('gives the registry’s own error when it has no such blob, and keeps nothing', async () => {
    await refuses(lab.write(lab.job(BLOB, GZIP, outDir), server), 'LARDER_REGISTRY_UNAVAILABLE', 'dropped');
  });

  it('goes on from the bytes of an earlier run and fetches only the rest', async () => {
    server.add(digestOf(BLOB), BLOB);
    for (const prefix of [1, 5, 1000, BLOB.length >> 1, BLOB.length - 1]) {
      writeFileSync(lab.ingestData, BLOB.subarray(0, prefix));
      server.offsets.length = 0;
      const result = await lab.write(lab.job(BLOB, GZIP, outDir), server);
      assert.equal(result.resumedFrom, prefix);
      assert.equal(result.received, BLOB.length - prefix);
      assert.deepEqual(server.offsets, [prefix]);
      assert.equal(result.diffId, diffIdOf(TAR));
      execFileSync('rm', ['-r', join(outDir, 'layer'), join(outDir, 'derived')]);
    }
  });

  it('asks for nothing when all bytes are already here', async () => {
    writeFileSync(lab.ingestData, BLOB);
    const result = await lab.write(lab.job(BLOB, GZIP, outDir), server);
    assert.deepEqual(server.offsets, []);
    assert.equal(result.received, 0);
  });

  it('fetches once from zero when the earlier bytes are damaged or too many', async () => {
    server.add(digestOf(BLOB), BLOB);
    const half = BLOB.length >> 1;
    const flipped = Buffer.from(BLOB.subarray(0, half));
    flipped[half - 100] = (flipped[half - 100] ?? 0) ^ 4;
    for (const prefix of [
      flipped,
      randomBytes(half),
      Buffer.alloc(half),
      Buffer.concat([BLOB, BLOB]),
      Buffer.alloc(1),
    ]) {
      writeFileSync(lab.ingestData, prefix);
      server.offsets.length = 0;
      const result = await lab.write(lab.job(BLOB, GZIP, outDir), server);
      assert.equal(result.diffId, diffIdOf(TAR));
      assert.equal(result.resumedFrom, 0);
      assert.equal(server.offsets.at(-1), 0);
      assert.ok(server.offsets.length <= 2);
      assert.ok(readFileSync(lab.ingestData).equals(BLOB));
      execFileSync('rm', ['-r', join(outDir, 'layer'), join(outDir, 'derived')]);
    }
  });

  it('refetches only once', async () => {
    server.add(digestOf(BLOB), randomBytes(BLOB.length));
    writeFileSync(lab.ingestData, BLOB.subarray(0, 1000));
    await refuses(lab.write(lab.job(BLOB, GZIP, outDir), server), 'LARDER_DIGEST_MISMATCH', 'dropped');
    assert.deepEqual(server.offsets, [1000, 0]);
  });

  it('survives cancelling at any point: the prefix stays and the next run fetches the rest', async () => {
    let sent = 0;
    let stopAt = 0;
    let controller = new AbortController();
    const keptBytes = (): number => statSync(lab.ingestData, { throwIfNoEntry: false })?.size ?? 0;
    server.addBody(digestOf(BLOB), BLOB.length, async (response, from) => {
      for (let at = from; at < BLOB.length && !response.destroyed; at += 16_384) {
        if (at >= stopAt) {
          await until(() => keptBytes() >= at, 'what was sent is kept');
          return controller.abort();
        }
        const piece = BLOB.subarray(at, Math.min(at + 16_384, BLOB.length));
        sent += piece.length;
        await new Promise((resolve) => response.write(piece, resolve));
      }
      response.end();
    });
    for (stopAt of [0, 20_000, 300_000, 1 << 20, 3 << 20]) {
      controller = new AbortController();
      const work = lab.write(lab.job(BLOB, GZIP, outDir), server, { signal: controller.signal });
      await refuses(work, 'LARDER_ABORTED', stopAt === 0 ? 'dropped' : 'kept');
    }
    stopAt = Number.POSITIVE_INFINITY;
    const result = await lab.write(lab.job(BLOB, GZIP, outDir), server);
    assert.equal(result.diffId, diffIdOf(TAR));
    assert.ok(result.resumedFrom > 3 << 19);
    assert.ok(sent < BLOB.length + 6 * 400_000, `${sent} bytes were sent for ${BLOB.length}`);
  });

  it('goes on in the same run when the connection breaks', async () => {
    let requests = 0;
    server.addBody(digestOf(BLOB), BLOB.length, (response, from) => {
      if (requests++ < 2)
        response.write(BLOB.subarray(from, from + 500_000), () => setTimeout(() => response.destroy(), 20));
      else response.end(BLOB.subarray(from));
    });
    const result = await lab.write(lab.job(BLOB, GZIP, outDir), server, { requests: 10 });
    assert.equal(result.received, BLOB.length);
    assert.equal(server.offsets.length, 3);
  });

  it('tells its progress, from nothing to everything', async () => {
    server.add(digestOf(BLOB), BLOB);
    await lab.write(lab.job(BLOB, GZIP, outDir), server);
    const { progress } = lab;
    assert.deepEqual([progress[0]?.received, progress[0]?.written], [0, 0]);
    assert.deepEqual([progress.at(-1)?.received, progress.at(-1)?.written], [BLOB.length, TAR.length]);
  });

  it('writes what the kernel cannot be given from the tar to layer.extra', async () => {
    const content = Buffer.from('odd padding behind this');
    const odd = file('odd', content);
    odd.fill(0xff, 512 + content.length);
    const bytes = tar([odd, file('even', 'even')]);
    server.add(digestOf(bytes), bytes);
    const { extra, index } = await lab.write(lab.job(bytes, PLAIN, outDir), server);
    assert.ok(extra !== undefined);
    const stored = readFileSync(extra.path);
    assert.equal(createHash('sha256').update(stored).digest('hex'), extra.sha256);
    assert.ok(stored.equals(Buffer.concat([content, Buffer.alloc(512 - content.length)])));
    const decoded = decodeLayerIndex(readFileSync(index.path));
    assert.deepEqual([decoded.inExtra(0), decoded.inExtra(1), decoded.extraSize], [true, false, 512]);
  });
});
