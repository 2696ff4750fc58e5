/** One layer of the floor, in a thread of its own: see floor.ts. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { get } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
import { layerCompressionOf } from '../src/spec/media-types.js';
import { type DecoderName, openInflater } from '../src/tar/compression.js';
import type { RemoteLayer } from './registry.js';

export interface Task {
  readonly layer: RemoteLayer;
  readonly path: string;
  readonly decoder: string | undefined;
}

const BLOCK_BYTES = 512 << 10;

/** Answers the DiffID. */
async function pullLayer({ layer, path, decoder }: Task): Promise<string> {
  const compression = layerCompressionOf(layer.mediaType, 'floor');
  const inflater = await openInflater(compression, decoder === undefined ? {} : { prefer: decoder as DecoderName });
  const [compressed, tar] = [createHash('sha256'), createHash('sha256')];
  const [download, file] = [new Appender(await open(`${path}.download`, 'wx')), new Appender(await open(path, 'wx'))];
  const out = (bytes: Uint8Array): Promise<void> => {
    const written = file.append(bytes);
    tar.update(bytes);
    return written;
  };
  let turn: Promise<unknown> = Promise.resolve();
  for await (const block of inBlocks(body(layer.url))) {
    await turn;
    turn = Promise.all([inflater.write(block, out), download.append(block)]);
    compressed.update(block);
  }
  await turn;
  await inflater.end(out);
  inflater.close();
  await file.handle.sync();
  await Promise.all([file.handle.close(), download.handle.close()]);
  if (`sha256:${compressed.digest('hex')}` !== layer.digest) throw new Error(`${layer.url}: not what it should be`);
  return tar.digest('hex');
}

/** Writes on libuv's pool, one after the other. */
class Appender {
  readonly handle: FileHandle;
  #last: Promise<unknown> = Promise.resolve();

  constructor(handle: FileHandle) {
    this.handle = handle;
  }

  append(bytes: Uint8Array): Promise<void> {
    const written = this.#last.then(() => this.#write(bytes));
    this.#last = written;
    return written;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) done += (await this.handle.write(bytes, done)).bytesWritten;
  }
}

async function* inBlocks(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  let filled = 0;
  for await (const piece of pieces) {
    for (let done = 0; done < piece.length; ) {
      const some = piece.copy(block, filled, done);
      filled += some;
      done += some;
      if (filled < block.length) continue;
      yield block;
      block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

async function* body(url: string): AsyncGenerator<Buffer> {
  const response = await new Promise<AsyncIterable<Buffer>>((resolve, reject) => {
    get(url, { highWaterMark: 1 << 20 } as object, resolve).once('error', reject);
  });
  yield* response;
}

parentPort?.postMessage(await pullLayer(workerData as Task));
