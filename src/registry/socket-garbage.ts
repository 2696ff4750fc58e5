/** What sockets leave behind in a worker thread: each read is a buffer of its own, garbage as soon as it was copied. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread } from 'node:worker_threads';

const COLLECT_EVERY_BYTES = 1 << 20;

let left = 0;
let collect: (() => void) | undefined;

/**
 * To be told of bytes of a socket that nobody needs any more. V8 waits for 32 MiB of such buffers before it looks which
 * of them are garbage, in each thread, whatever its limits are; here it looks each MiB, at the young objects only. The
 * main thread is left alone: there it would look at a host program's young objects, too.
 */
export function leaveGarbage(bytes: number): void {
  if (isMainThread) return;
  left += bytes;
  if (left < COLLECT_EVERY_BYTES) return;
  left = 0;
  collect ??= collector();
  collect();
}

/** One that V8 gives to nobody is none: it works as well. */
function collector(): () => void {
  const gc = exposed() ?? expose();
  return typeof gc === 'function' ? () => void Reflect.apply(gc, undefined, [{ type: 'minor' }]) : () => {};
}

/** V8 gives its collector to contexts that are made while it is asked to, in all threads: only to this one, so that no other of the program has it. */
function expose(): unknown {
  setFlagsFromString('--expose-gc');
  const gc = exposed();
  setFlagsFromString('--no-expose-gc');
  return gc;
}

function exposed(): unknown {
  return runInNewContext('globalThis.gc');
}
