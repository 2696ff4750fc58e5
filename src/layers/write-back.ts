import { startWriteBack } from '../linux/sync-file-range.js';
import type { NewFile } from './new-file.js';

/** Smaller files are synced faster than the call is loaded. */
const FROM_BYTES = 32 << 20;
const EVERY_BYTES = 8 << 20;

/**
 * Starts write-back while a file grows, so that the disk works during the download and the final fsync has little left
 * to wait for. Call {@link advance} after each piece.
 */
export class WriteBack {
  readonly #file: NewFile;
  #started = 0;

  constructor(file: NewFile) {
    this.#file = file;
  }

  advance(): void {
    const { size, fd } = this.#file;
    if (size < FROM_BYTES || size - this.#started < EVERY_BYTES) return;
    startWriteBack(fd, this.#started, size - this.#started);
    this.#started = size;
  }
}
