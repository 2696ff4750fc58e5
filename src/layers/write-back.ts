import { startWriteBack } from '../linux/sync-file-range.js';
import type { NewFile } from './new-file.js';

/** Smaller files are synced faster than the call is loaded. */
const FROM_BYTES = 32 << 20;
const EVERY_BYTES = 8 << 20;

/**
 * Starts write-back while a file grows, so that the disk works during the download and the final fsync has little left
 * to wait for. Call {@link advance} after each piece, and wait for {@link settled} before the file is closed.
 */
export class WriteBack {
  readonly #file: NewFile;
  #started = 0;
  #running: Promise<void> | undefined;

  constructor(file: NewFile) {
    this.#file = file;
  }

  /** The file is written up to `end`. Returns at once; where the last call has not ended, the next one does its part. */
  advance(end: number): void {
    if (this.#running !== undefined || end < FROM_BYTES || end - this.#started < EVERY_BYTES) return;
    this.#running = this.#run(this.#file.fd, this.#started, end - this.#started);
    this.#started = end;
  }

  /** Never rejects. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(fd: number, offset: number, bytes: number): Promise<void> {
    await startWriteBack(fd, offset, bytes);
    this.#running = undefined;
  }
}
