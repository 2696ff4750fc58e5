/**
 * The few requests of FUSE (linux/fuse.h, version 7.31) that a directory of fixed files needs, answered one after the
 * other by synchronous calls: the order in which they are seen is the order in which they are written down.
 */
import { constants, openSync, readSync, writeSync } from 'node:fs';
import { errnoOf } from '../../src/errors.js';
import { check, cString, kernel } from '../../src/linux/syscalls.js';

/** One file of the mount. A method that is missing is refused. */
export interface FuseFile {
  readonly size: number;
  read?(target: Buffer, offset: number): void;
  write?(bytes: Buffer, offset: number): void;
  fsync?(): void;
  /** Its bytes become zeros. */
  punch?(offset: number, length: number): void;
}

const OP = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  releasedir: 29,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
} as const;
const ENOENT = 2;
const EIO = 5;
const EINVAL = 22;
const ENOSYS = 38;
const EOPNOTSUPP = 95;
const IN_HEADER = 40;
const OUT_HEADER = 16;
const MAX_WRITE = 128 << 10;
const FIRST_FILE = 2;
const DIRECTORY_MODE = 0o40700;
const FILE_MODE = 0o100600;
/** What is read and written goes to the file each time, and nothing of it stays in the page cache. */
const FOPEN_DIRECT_IO = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const MS_NOSUID_NODEV = 2 | 4;
const NO_ANSWER = Symbol('no answer');

type Answer = Buffer | number | typeof NO_ANSWER;

/** Mounts the files at `directory`, calls `ready`, and serves them until they are unmounted. */
export function serveFuse(directory: string, files: Readonly<Record<string, FuseFile>>, ready: () => void): void {
  const fd = openSync('/dev/fuse', constants.O_RDWR);
  const options = cString(`fd=${fd},rootmode=40000,user_id=0,group_id=0`);
  check(kernel().mount(cString('power'), cString(directory), cString('fuse'), MS_NOSUID_NODEV, options), 'mount');
  ready();
  new Connection(fd, files).serve();
}

class Connection {
  readonly #fd: number;
  readonly #names: readonly string[];
  readonly #files: readonly FuseFile[];
  readonly #request = Buffer.alloc(MAX_WRITE + 4096);
  readonly #reply = Buffer.alloc(OUT_HEADER + MAX_WRITE);

  constructor(fd: number, files: Readonly<Record<string, FuseFile>>) {
    this.#fd = fd;
    this.#names = Object.keys(files);
    this.#files = Object.values(files);
  }

  serve(): void {
    for (;;) {
      const length = this.#next();
      if (length === undefined) return;
      const request = this.#request.subarray(0, length);
      const answer = this.#answerOf(request);
      if (answer === NO_ANSWER) continue;
      this.#send(request.readBigUInt64LE(8), answer);
    }
  }

  /** Undefined when it was unmounted. */
  #next(): number | undefined {
    for (;;) {
      try {
        return readSync(this.#fd, this.#request, 0, this.#request.length, null);
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === 'ENODEV') return undefined;
        // A request that was interrupted before it was read.
        if (errno !== 'ENOENT' && errno !== 'EINTR' && errno !== 'EAGAIN') throw error;
      }
    }
  }

  #send(unique: bigint, answer: Buffer | number): void {
    const bodyLength = typeof answer === 'number' ? 0 : answer.length;
    const reply = this.#reply.subarray(0, OUT_HEADER + bodyLength);
    reply.writeUInt32LE(reply.length, 0);
    reply.writeInt32LE(typeof answer === 'number' ? -answer : 0, 4);
    reply.writeBigUInt64LE(unique, 8);
    if (typeof answer !== 'number' && answer.buffer !== reply.buffer) answer.copy(reply, OUT_HEADER);
    try {
      writeSync(this.#fd, reply);
    } catch (error) {
      // Whoever asked was killed meanwhile.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }

  #answerOf(request: Buffer): Answer {
    const opcode = request.readUInt32LE(4);
    const node = Number(request.readBigUInt64LE(16));
    const body = request.subarray(IN_HEADER);
    switch (opcode) {
      case OP.init:
        return initOut(body);
      case OP.lookup:
        return this.#lookup(body);
      case OP.getattr:
      case OP.setattr:
        return this.#attributes(node);
      case OP.open:
      case OP.opendir:
        return openOut();
      case OP.read:
        return this.#read(node, body);
      case OP.write:
        return this.#write(node, body);
      case OP.fsync:
        return this.#done(() => this.#file(node)?.fsync?.());
      case OP.fallocate:
        return this.#punch(node, body);
      case OP.statfs:
        return Buffer.alloc(80);
      case OP.release:
      case OP.releasedir:
      case OP.flush:
      case OP.destroy:
        return 0;
      case OP.forget:
      case OP.batchForget:
      case OP.interrupt:
        return NO_ANSWER;
      default:
        return ENOSYS;
    }
  }

  #file(node: number): FuseFile | undefined {
    return this.#files[node - FIRST_FILE];
  }

  #lookup(body: Buffer): Answer {
    const index = this.#names.indexOf(body.toString('latin1', 0, body.indexOf(0)));
    if (index < 0) return ENOENT;
    const node = index + FIRST_FILE;
    const out = Buffer.alloc(40 + 88);
    out.writeBigUInt64LE(BigInt(node), 0);
    this.#attributesOf(node).copy(out, 40);
    return out;
  }

  #attributes(node: number): Buffer {
    return Buffer.concat([Buffer.alloc(16), this.#attributesOf(node)]);
  }

  /** struct fuse_attr. */
  #attributesOf(node: number): Buffer {
    const out = Buffer.alloc(88);
    const size = BigInt(this.#file(node)?.size ?? 0);
    out.writeBigUInt64LE(BigInt(node), 0);
    out.writeBigUInt64LE(size, 8);
    out.writeBigUInt64LE(size / 512n, 16);
    out.writeUInt32LE(node < FIRST_FILE ? DIRECTORY_MODE : FILE_MODE, 60);
    out.writeUInt32LE(1, 64);
    out.writeUInt32LE(4096, 80);
    return out;
  }

  #read(node: number, body: Buffer): Answer {
    const file = this.#file(node);
    if (file?.read === undefined) return EINVAL;
    const offset = Number(body.readBigUInt64LE(8));
    const length = Math.max(0, Math.min(body.readUInt32LE(16), file.size - offset));
    const target = this.#reply.subarray(OUT_HEADER, OUT_HEADER + length);
    const status = this.#done(() => file.read?.(target, offset));
    return status === 0 ? target : status;
  }

  #write(node: number, body: Buffer): Answer {
    const file = this.#file(node);
    if (file?.write === undefined) return EINVAL;
    const offset = Number(body.readBigUInt64LE(8));
    const length = body.readUInt32LE(16);
    const status = this.#done(() => file.write?.(body.subarray(40, 40 + length), offset));
    if (status !== 0) return status;
    const out = Buffer.alloc(8);
    out.writeUInt32LE(length, 0);
    return out;
  }

  #punch(node: number, body: Buffer): Answer {
    const file = this.#file(node);
    if (file?.punch === undefined || (body.readUInt32LE(24) & FALLOC_FL_PUNCH_HOLE) === 0) return EOPNOTSUPP;
    return this.#done(() => file.punch?.(Number(body.readBigUInt64LE(8)), Number(body.readBigUInt64LE(16))));
  }

  /** What fails here is a fault of this program, not of the disk: it is said, and is an I/O error to the caller. */
  #done(work: () => void): number {
    try {
      work();
      return 0;
    } catch (error) {
      console.error(error);
      return EIO;
    }
  }
}

/** struct fuse_init_out: no flags, so that nothing is cached and nothing overtakes. */
function initOut(body: Buffer): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt32LE(body.readUInt32LE(8), 8);
  out.writeUInt16LE(16, 16);
  out.writeUInt16LE(12, 18);
  out.writeUInt32LE(MAX_WRITE, 20);
  out.writeUInt32LE(1, 24);
  return out;
}

function openOut(): Buffer {
  const out = Buffer.alloc(16);
  out.writeUInt32LE(FOPEN_DIRECT_IO, 8);
  return out;
}
