/** What is on a disk: pages over those of another disk, or of an image file that stays as it is. */
import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import type { DiskEvent } from './disk-log.js';

export const SECTOR = 512;
const PAGE = 4096;

/** What stays as it is below. */
export interface Below {
  /** As an unsigned number of 64 bits: equal for equal contents. */
  readonly signature: bigint;
  readPage(page: number, target: Buffer): void;
  hashOf(page: number): bigint;
}

export class ImageFile implements Below {
  readonly signature = 0n;
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  readPage(page: number, target: Buffer): void {
    const length = readSync(this.#fd, target, 0, PAGE, page * PAGE);
    target.fill(0, length);
  }

  hashOf(page: number): bigint {
    const bytes = Buffer.allocUnsafe(PAGE);
    this.readPage(page, bytes);
    return hashOf(page, bytes);
  }
}

export class Medium implements Below {
  readonly #below: Below;
  readonly #pages = new Map<number, Buffer>();
  /** Of pages that were asked for and not written since. */
  readonly #hashes = new Map<number, bigint>();
  #signature: bigint | undefined;

  constructor(below: Below) {
    this.#below = below;
  }

  /** Which page was written how often does not matter, only what is on the disk now. What is below must not change any more. */
  get signature(): bigint {
    this.#signature ??= [...this.#pages.keys()].reduce(
      (sum, page) => sum ^ this.hashOf(page) ^ this.#below.hashOf(page),
      this.#below.signature,
    );
    return this.#signature;
  }

  hashOf(page: number): bigint {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return this.#below.hashOf(page);
    const known = this.#hashes.get(page) ?? hashOf(page, bytes);
    this.#hashes.set(page, known);
    return known;
  }

  /** `sectors`: which of a write's own arrive; all when it is left out. */
  apply(event: DiskEvent, sectors?: (sector: number) => boolean): void {
    if (event.kind === 'punch') this.write(Buffer.alloc(event.length), event.offset);
    if (event.kind !== 'write') return;
    for (let at = 0; at < event.bytes.length; at += sectors === undefined ? event.bytes.length : SECTOR) {
      if (sectors === undefined) this.write(event.bytes, event.offset);
      else if (sectors(at / SECTOR)) this.write(event.bytes.subarray(at, at + SECTOR), event.offset + at);
    }
  }

  write(bytes: Uint8Array, offset: number): void {
    for (let done = 0; done < bytes.length; ) {
      const [page, within] = [Math.floor((offset + done) / PAGE), (offset + done) % PAGE];
      const piece = bytes.subarray(done, done + PAGE - within);
      const before = this.#signature === undefined ? 0n : this.hashOf(page);
      this.#ownPage(page).set(piece, within);
      this.#hashes.delete(page);
      if (this.#signature !== undefined) this.#signature ^= before ^ this.hashOf(page);
      done += piece.length;
    }
  }

  read(target: Buffer, offset: number): void {
    const whole = Buffer.allocUnsafe(PAGE);
    for (let done = 0; done < target.length; ) {
      const [page, within] = [Math.floor((offset + done) / PAGE), (offset + done) % PAGE];
      const length = Math.min(PAGE - within, target.length - done);
      this.readPage(page, whole);
      whole.copy(target, done, within, within + length);
      done += length;
    }
  }

  readPage(page: number, target: Buffer): void {
    const mine = this.#pages.get(page);
    if (mine === undefined) this.#below.readPage(page, target);
    else mine.copy(target);
  }

  #ownPage(page: number): Buffer {
    let mine = this.#pages.get(page);
    if (mine === undefined) {
      mine = Buffer.allocUnsafe(PAGE);
      this.#below.readPage(page, mine);
      this.#pages.set(page, mine);
    }
    return mine;
  }
}

function hashOf(page: number, bytes: Buffer): bigint {
  return createHash('sha1').update(`${page}\n`).update(bytes).digest().readBigUInt64LE(0);
}
