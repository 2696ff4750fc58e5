import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { systemError } from '../errors.js';
import { writeFully } from './new-file.js';

const DOING = 'keep download';

/**
 * The bytes of a download as they came, appended without a sync: whatever is there after a crash is hashed again before
 * it is believed. The caller holds the ingest's lock.
 */
export class DownloadFile {
  readonly path: string;
  #fd: number;
  #size: number;

  constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.#fd = fd;
    this.#size = size;
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

  append(bytes: Uint8Array): void {
    try {
      writeFully(this.#fd, bytes, this.#size);
      this.#size += bytes.length;
    } catch (error) {
      throw systemError(`${DOING}: ${this.path}`, error);
    }
  }

  drop(): void {
    try {
      ftruncateSync(this.#fd, 0);
      this.#size = 0;
    } catch (error) {
      throw systemError(`${DOING}: ${this.path}`, error);
    }
  }

  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }
}
