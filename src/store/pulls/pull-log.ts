/**
 * What a pull has told, for other processes to read: `pulls/<handle>.<id>`, one line of JSON for each event, a snapshot
 * first. Made when there is something to wait for, and gone when the pull has ended. Nobody who reads it can hold the
 * pull up, and the pull waits for nothing but its own last line. A file that has grown long is begun again. It is
 * never synced: after a power cut there is no pull.
 */
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemError } from '../../errors.js';
import { EventQueue } from '../../event-stream.js';
import type { LarderEvent, OnEvent, PullFacts } from '../../events.js';
import { NO_PROGRESS, nextProgress, type PullProgress, snapshotOf } from '../../progress.js';

/** `atMs`: by {@link bootMs}. */
export interface TimedEvent {
  readonly atMs: number;
  readonly event: LarderEvent;
}

const FLUSH_MS = 200;
const MAX_BYTES = 256 * 1024;
/** Before one of these a pull that is short stays unknown: most end with nothing to wait for. */
const SLOW: readonly LarderEvent['type'][] = ['layer-start', 'layer-wait', 'retry', 'rate-limit'];
/** The snapshot says it. */
const IN_SNAPSHOT = /^(?:layer-.*|plan|resolve)$/;

export class PullLog {
  readonly #facts: PullFacts;
  readonly #path: string;
  readonly #onTrouble: OnEvent;
  readonly #queue = new EventQueue();
  #progress: PullProgress = NO_PROGRESS;
  #file: FileHandle | undefined;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #begun = false;
  #failed = false;

  /** `onTrouble` hears when nothing can be written; nothing else comes of it. */
  constructor(facts: PullFacts, path: string, onTrouble: OnEvent) {
    this.#facts = facts;
    this.#path = path;
    this.#onTrouble = onTrouble;
  }

  note(event: LarderEvent): void {
    if (this.#failed || event.type === 'debug') return;
    this.#progress = nextProgress(this.#progress, event, bootMs());
    this.#queue.push(event);
    this.#begun ||= SLOW.includes(event.type);
    // The first line at once: whoever looks for the pull now shall find it.
    if (this.#begun)
      this.#timer ??= setTimeout(() => this.#flushSoon(), this.#file === undefined ? 0 : FLUSH_MS).unref();
  }

  /** Never rejects. Not called twice. */
  async end(ended: Extract<LarderEvent, { type: 'ended' }>): Promise<void> {
    this.note(ended);
    clearTimeout(this.#timer);
    if (!this.#begun) return;
    this.#flushSoon();
    await this.#writing;
    await this.#tried(async () => {
      await this.#file?.close();
      await unlink(this.#path);
    });
  }

  #flushSoon(): void {
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#tried(() => this.#flush()));
  }

  async #flush(): Promise<void> {
    const events = this.#queue.take();
    if (this.#file !== undefined && this.#bytes < MAX_BYTES) return this.#append(this.#file, events);
    const rest = events.filter(({ type }) => !IN_SNAPSHOT.test(type));
    await this.#begin([snapshotOf(this.#progress, this.#facts), ...rest]);
  }

  /** Under another name first: whoever finds the file finds the snapshot in it. */
  async #begin(events: readonly LarderEvent[]): Promise<void> {
    const unnamed = `${this.#path}.new`;
    const file = await openIn(unnamed);
    const old = this.#file;
    this.#file = file;
    this.#bytes = 0;
    await this.#append(file, events);
    await rename(unnamed, this.#path);
    await old?.close();
  }

  async #append(file: FileHandle, events: readonly LarderEvent[]): Promise<void> {
    const atMs = bootMs();
    const text = events.map((event) => `${JSON.stringify({ atMs, event } satisfies TimedEvent)}\n`).join('');
    this.#bytes += Buffer.byteLength(text);
    await file.appendFile(text);
  }

  async #tried(work: () => Promise<void>): Promise<void> {
    if (this.#failed) return;
    try {
      await work();
    } catch (error) {
      this.#failed = true;
      clearTimeout(this.#timer);
      await this.#file?.close().catch(() => {});
      // Nobody shall follow what is told no more.
      for (const path of [this.#path, `${this.#path}.new`]) await unlink(path).catch(() => {});
      const { message } = systemError(`tell other processes of the pull: ${this.#path}`, error);
      this.#onTrouble({ type: 'warning', message: `${message}; it goes on, and nobody can attach to it` });
    }
  }
}

/** The clock that all processes of this boot have in common and that nobody sets: a pull does not outlive a boot. */
export function bootMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

async function openIn(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  return open(path, 'wx', 0o600);
}
