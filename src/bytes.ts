/** Small helpers on bytes and typed arrays, shared by everything that reads or writes binary formats. */

/** Element `i` of a typed array whose bounds the caller has established. */
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
    for (const b of bytes) text += b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : `\\x${b.toString(16).padStart(2, '0')}`;
    return text;
  }
}
