/**
 * Elements of typed arrays whose bounds the caller has established. One function per element type: V8 remembers per
 * function which arrays it has seen, so that one function for all types would be several times slower in the loops
 * over millions of entries.
 */

export function u8(array: Uint8Array, i: number): number {
  return array[i] as number;
}

export function u16(array: Uint16Array, i: number): number {
  return array[i] as number;
}

export function u32(array: Uint32Array, i: number): number {
  return array[i] as number;
}

export function f64(array: Float64Array, i: number): number {
  return array[i] as number;
}

/** The same for a plain array. */
export function item<T>(array: readonly T[], i: number): T {
  return array[i] as T;
}
