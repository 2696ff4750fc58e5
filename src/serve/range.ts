/** Which bytes of a blob a request wants (RFC 9110, 14.2: one range of bytes; what is not understood asks for all). */

export type WantedBytes =
  | { readonly kind: 'all' }
  /** `end` is behind the last byte. */
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'none' };

const RANGE = /^bytes=(\d{0,15})-(\d{0,15})$/;

export function parseRange(header: string | undefined, size: number): WantedBytes {
  const [, first = '', last = ''] = RANGE.exec(header ?? '') ?? [];
  if (first === '' && last === '') return { kind: 'all' };
  if (first === '') {
    // The last so many.
    const count = Math.min(Number(last), size);
    return count === 0 ? { kind: 'none' } : { kind: 'part', start: size - count, end: size };
  }
  const start = Number(first);
  const end = last === '' ? size : Math.min(Number(last) + 1, size);
  if (last !== '' && Number(last) < start) return { kind: 'all' };
  return start >= size ? { kind: 'none' } : { kind: 'part', start, end };
}
