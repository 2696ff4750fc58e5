import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, systemError } from '../../errors.js';
import { isEvent } from './event-shape.js';
import type { TimedEvent } from './pull-log.js';

const CHUNK_BYTES = 64 * 1024;
/** Longer is no line of ours. */
const MAX_LINE_BYTES = 4 << 20;
/** Longer is no file of ours: it would have been begun again. */
const MAX_BYTES = 64 << 20;

/** Reads what a pull tells as it is written, from whichever process. */
export class PullTail {
  readonly #path: string;
  #file: FileHandle;
  #position = 0;
  #rest = Buffer.alloc(0);
  #isGone = false;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /** Undefined when there is no such pull (any more), or something else lies there. */
  static async open(path: string): Promise<PullTail | undefined> {
    const file = await openThere(path);
    return file === undefined ? undefined : new PullTail(path, file);
  }

  /** The file is not there any more, and all that was in it has been read. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** What came since the last call. A file that was begun again is read from its beginning, which is a snapshot. */
  async read(): Promise<TimedEvent[]> {
    const events: TimedEvent[] = [];
    while (!this.#isGone) {
      // Asked first: nothing is written to a file that has lost its name.
      const { nlink } = await this.#file.stat();
      await this.#drain(events);
      if (nlink > 0) break;
      const next = await openThere(this.#path);
      this.#isGone = next === undefined;
      if (next === undefined) break;
      await this.#file.close();
      this.#file = next;
      this.#position = 0;
      this.#rest = Buffer.alloc(0);
    }
    return events;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #drain(events: TimedEvent[]): Promise<void> {
    for (;;) {
      const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, this.#position);
      if (bytesRead === 0) return;
      this.#position += bytesRead;
      this.#rest = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)]);
      for (let end = this.#rest.indexOf(10); end >= 0; end = this.#rest.indexOf(10)) {
        const event = parseLine(this.#rest.toString('utf8', 0, end));
        if (event !== undefined) events.push(event);
        this.#rest = this.#rest.subarray(end + 1);
      }
      if (this.#rest.length > MAX_LINE_BYTES) this.#rest = Buffer.alloc(0);
    }
  }
}

/** What another version wrote may be of a type that nobody here knows; what is no event at all is passed over. */
function parseLine(text: string): TimedEvent | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof line !== 'object' || line === null || !('atMs' in line) || !('event' in line)) return undefined;
  const { atMs, event } = line;
  return typeof atMs === 'number' && isEvent(event) ? { atMs, event } : undefined;
}

async function openThere(path: string): Promise<FileHandle | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const status = await file.stat();
    if (status.isFile() && status.size <= MAX_BYTES) return file;
    await file.close();
    return undefined;
  } catch (error) {
    // ELOOP: a symbolic link.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ELOOP') return undefined;
    throw systemError(`read ${path}`, error);
  }
}
