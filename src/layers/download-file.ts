import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { systemError } from '../errors.js';
import { OrderedWrites } from './ordered-writes.js';

const DOING = 'keep download';

/**
 * The bytes of a download as they came, appended without a sync: whatever is there after a crash is hashed again before
 * it is believed. The caller holds the ingest's lock.
 */
export class DownloadFile {
  readonly path: string;
  #fd: number;
  /** What was there when it was opened. */
  #size: number;
  #writes: OrderedWrites;

  constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.#fd = fd;
    this.#size = size;
    this.#writes = new OrderedWrites(fd, size);
  }

  /** What is longer than the blob can be no part of it and is dropped. */
  static open(path: string, maxBytes: number): DownloadFile {
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
      const file = new DownloadFile(path, fd, fstatSync(fd).size);
      if (file.size > maxBytes) file.drop();
      return file;
    } catch (error) {
      throw systemError(`${DOING}: ${path}`, error);
    }
  }

  get size(): number {
    return this.#size;
  }

  /** Takes `bytes` until the promise settles. In the order of the calls; after a failure all fail. */
  async append(bytes: Uint8Array): Promise<void> {
    try {
      await this.#writes.append(bytes);
    } catch (error) {
      throw systemError(`${DOING}: ${this.path}`, error);
    }
  }

  /** Only while nothing is appended. */
  drop(): void {
    try {
      ftruncateSync(this.#fd, 0);
      this.#size = 0;
      this.#writes = new OrderedWrites(this.#fd, 0);
    } catch (error) {
      throw systemError(`${DOING}: ${this.path}`, error);
    }
  }

  /** Only while nothing is appended. Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }
}
