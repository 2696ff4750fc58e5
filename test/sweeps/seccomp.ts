/**
 * seccomp(2)'s user notification: a process gives its system calls to another one to decide upon, from all of its
 * threads, whoever makes them (Node's pool, a native library, a worker). No compiler, no ptrace, no library to preload.
 */
import { closeSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { COUNTED, type Plan, TO_TRACER, TRACED, WRITE } from './system-calls.js';

const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
const libc = koffi.load(null);
const FilterProgram = koffi.struct({ length: 'uint16_t', filter: 'const uint8_t *' });
const seccompCall = libc.func('syscall', 'int64_t', ['int64_t', 'uint', 'uint', koffi.pointer(FilterProgram)]);
const plain = libc.func('syscall', 'int64_t', ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t']);
const ioctl = libc.func('ioctl', 'int', ['int', 'int64_t', 'void *']);
const pollCall = libc.func('poll', 'int', ['void *', 'uint64_t', 'int']);

const SYS = { prctl: 157, seccomp: 317, pidfdOpen: 434, pidfdGetfd: 438 } as const;
const X86_64 = 0xc000003e;

/** Why sweeps cannot run here, or false. */
export function whyNoSweep(): string | false {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the table of system calls is for x86-64 Linux';
  return process.getuid?.() === 0 ? false : 'mounting and tracing need root';
}

/** From here on the traced calls of this process wait for whoever takes the listener; its number is answered. */
export function installFilter(): number {
  const SET_MODE_FILTER = 1;
  const TSYNC = 1;
  const NEW_LISTENER = 8;
  const TSYNC_ESRCH = 16;
  const filter = filterBytes();
  const program = { length: filter.length / 8, filter };
  const listener = seccompCall(SYS.seccomp, SET_MODE_FILTER, TSYNC | NEW_LISTENER | TSYNC_ESRCH, program);
  if (listener < 0) throw new Error(`seccomp: error ${koffi.errno()}`);
  return Number(listener);
}

function filterBytes(): Buffer {
  const LOAD = 0x20;
  const EQUAL = 0x15;
  const AT_LEAST = 0x35;
  const RETURN = 0x06;
  const ALLOW = 0x7fff0000;
  const NOTIFY = 0x7fc00000;
  const numbers = [...TRACED.keys(), TO_TRACER].filter((number) => number !== WRITE);
  const toEnd = (i: number): number => numbers.length - i;
  const instructions: (readonly [number, number, number, number])[] = [
    [LOAD, 0, 0, 4],
    [EQUAL, 1, 0, X86_64],
    [RETURN, 0, 0, ALLOW],
    [LOAD, 0, 0, 0],
    // write(fd, bytes, 8) wakes a loop; those to standard output and error are not the store's.
    [EQUAL, 0, 5, WRITE],
    [LOAD, 0, 0, 32],
    [EQUAL, 3 + numbers.length, 0, 8],
    [LOAD, 0, 0, 16],
    [AT_LEAST, 2 + numbers.length, 1 + numbers.length, 3],
    [RETURN, 0, 0, ALLOW],
    ...numbers.map((number, i) => [EQUAL, toEnd(i), 0, number] as const),
    [RETURN, 0, 0, ALLOW],
    [RETURN, 0, 0, NOTIFY],
  ];
  const bytes = Buffer.alloc(instructions.length * 8);
  instructions.forEach(([code, yes, no, k], i) => {
    bytes.writeUInt16LE(code, i * 8);
    bytes.writeUInt8(yes, i * 8 + 2);
    bytes.writeUInt8(no, i * 8 + 3);
    bytes.writeUInt32LE(k, i * 8 + 4);
  });
  return bytes;
}

/** Installs the filter and says so on standard output; the tracer takes the listener from there. */
export function beTraced(): void {
  // Nobody else would end a process that waits for a call's answer.
  const PARENT_DEATH_SIGNAL = 1;
  plain(SYS.prctl, PARENT_DEATH_SIGNAL, constants.signals.SIGKILL, 0, 0);
  const listener = installFilter();
  writeSync(1, `${JSON.stringify({ listener })}\n`);
  tellTracer(0);
  closeSync(listener);
}

/** Counting starts at 1 with this. */
export function arm({ at, errno = 0, lasting = false, counts }: Plan): void {
  tellTracer(1, at, errno, COUNTED.indexOf(counts) * 2 + (lasting ? 1 : 0));
}

/** How many calls counted since {@link arm}. */
export function disarm(): number {
  return tellTracer(2);
}

function tellTracer(...values: readonly number[]): number {
  const [what = 0, at = 0, errno = 0, how = 0] = values;
  const answer = Number(plain(TO_TRACER, what, at, errno, how));
  if (answer < 0) throw new Error('nobody traces this process');
  return answer;
}

/** The plan that {@link arm} sent. */
export function planOf([, at = 0n, errno = 0n, how = 0n]: readonly bigint[]): Plan {
  const counted = COUNTED[Number(how) >> 1] ?? 'changes';
  const lasting = (Number(how) & 1) === 1;
  return { at: Number(at), errno: errno === 0n ? undefined : Number(errno), lasting, counts: counted };
}

/** The listener of another process, as a descriptor of this one. */
export function takeListener(pid: number, listener: number): number {
  const process_ = Number(plain(SYS.pidfdOpen, pid, 0, 0, 0));
  if (process_ < 0) throw new Error(`pidfd_open ${pid}: error ${koffi.errno()}`);
  try {
    const fd = Number(plain(SYS.pidfdGetfd, process_, listener, 0, 0));
    if (fd < 0) throw new Error(`pidfd_getfd ${pid}: error ${koffi.errno()}`);
    return fd;
  } finally {
    closeSync(process_);
  }
}

export interface Notification {
  readonly id: bigint;
  readonly number: number;
  readonly args: readonly bigint[];
}

/** The next call that waits; undefined when the process is gone. Blocks. */
export function nextCall(listener: number): Notification | undefined {
  const HANG_UP = 0x10;
  const RECEIVE = 0xc0502100;
  for (;;) {
    const poll = Buffer.alloc(8);
    poll.writeInt32LE(listener, 0);
    poll.writeInt16LE(1, 4);
    pollCall(poll, 1, -1);
    if ((poll.readInt16LE(6) & HANG_UP) !== 0) return undefined;
    const bytes = Buffer.alloc(80);
    // Whoever was killed meanwhile does not wait any more.
    if (ioctl(listener, RECEIVE, bytes) < 0) continue;
    const args = [0, 1, 2, 3, 4, 5].map((i) => bytes.readBigUInt64LE(32 + i * 8));
    return { id: bytes.readBigUInt64LE(0), number: bytes.readInt32LE(16), args };
  }
}

/** `proceed`: the kernel does the call; `value`: the call is not made and answers this, below zero an error. */
export function answer(listener: number, { id }: Notification, value: number | 'proceed'): void {
  const SEND = 0xc0182101;
  const CONTINUE = 1;
  const bytes = Buffer.alloc(24);
  bytes.writeBigUInt64LE(id, 0);
  if (value === 'proceed') bytes.writeUInt32LE(CONTINUE, 20);
  else if (value < 0) bytes.writeInt32LE(value, 16);
  else bytes.writeBigInt64LE(BigInt(value), 8);
  // It fails for a thread that ended meanwhile, which nobody has to know.
  ioctl(listener, SEND, bytes);
}
