/** Small helpers on bytes and typed arrays, shared by everything that reads or writes binary formats. */

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

/** The same for any of them, where it is not called by the million. */
export function at(array: { readonly [index: number]: number }, i: number): number {
  return array[i] as number;
}

/** The smallest multiple of `unit` (a power of two or not) that is not below `n`. */
export function alignUp(n: number, unit: number): number {
  return Math.ceil(n / unit) * unit;
}

/** Bytes as text for people: UTF-8 where it is valid, else each odd byte as `\xHH`. Never ambiguous for tests. */
export function displayName(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    let text = '';
    for (const b of bytes)
      text += b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : `\\x${b.toString(16).padStart(2, '0')}`;
    return text;
  }
}
