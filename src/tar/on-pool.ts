/** A function of a library, as koffi gives it: to be called as it is, or by its `async`. */
type Native<A extends readonly unknown[], R> = ((...args: A) => R) & { readonly async: unknown };

/** Bytes in and out of a call that takes less time than handing it to another thread does. */
const SMALL_BYTES = 4096;

/**
 * A function that runs on libuv's pool, unless there is little to do. What it is given must stay where it is until the
 * promise has settled, and so must what that points to. A thread that is ended meanwhile waits for the call to return.
 */
export class PoolCall<A extends readonly unknown[], R> {
  readonly #native: Native<A, R>;

  constructor(native: Native<A, R>) {
    this.#native = native;
  }

  run(small: boolean, ...args: A): R | Promise<R> {
    if (small) return this.#native(...args);
    const call = this.#native.async as (...args: [...A, (error: unknown, result: R) => void]) => void;
    return new Promise((resolve, reject) => {
      call(...args, (error, result) => {
        if (error === null || error === undefined) resolve(result);
        else reject(error);
      });
    });
  }
}

/** Whether a call that took and gave this much was small, or will be. A stream of tiny members is one of tiny calls. */
export function isSmall(taken: number, given = 0): boolean {
  return taken <= SMALL_BYTES && given <= SMALL_BYTES;
}
