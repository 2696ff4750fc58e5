/** The values of pax records: decimal numbers, times, and libarchive's encodings of extended attributes. */
import { u8 } from '../bytes.js';
import type { Refuse } from './header.js';

export interface Time {
  present: boolean;
  /** Whole seconds, floor. */
  seconds: number;
  ns: number;
}

const TIME_LIMIT = 2 ** 53;

/** Digits only, no sign. -1 for an empty value, which withdraws the record; Infinity beyond 2^53. */
export function decimal(data: Uint8Array, from: number, to: number, what: string, refuse: Refuse): number {
  if (from === to) return -1;
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = u8(data, i) - 0x30;
    if (digit < 0 || digit > 9) throw refuse(`its pax ${what} is not a decimal number`);
    value = value * 10 + digit;
  }
  return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
}

/**
 * `[-]seconds[.fraction]`, cut to nanoseconds, clamped to ±2^53 s. Writers in Python and JavaScript also give
 * exponents. A time that is not a number at all leaves the header's: nothing depends on it.
 */
export function readTime(data: Uint8Array, from: number, to: number, time: Time): void {
  time.present = false;
  const negative = from < to && u8(data, from) === 0x2d;
  let i = negative ? from + 1 : from;
  const first = i;
  let seconds = 0;
  for (; i < to && isDigit(u8(data, i)); i++) seconds = seconds * 10 + u8(data, i) - 0x30;
  const digits = i - first;
  let ns = 0;
  if (i < to && u8(data, i) === 0x2e) {
    let unit = 100_000_000;
    for (i += 1; i < to && isDigit(u8(data, i)); i++) {
      ns += unit * (u8(data, i) - 0x30);
      unit = Math.floor(unit / 10);
    }
  }
  if (i === to && digits > 0) setTime(time, negative, seconds, ns);
  else readOtherTime(data, from, to, time);
}

export function clampTime(seconds: number): number {
  return Math.max(-TIME_LIMIT, Math.min(TIME_LIMIT, seconds));
}

/** `user.name` with `%XX` for odd bytes. */
export function decodeLibarchiveName(text: string): Uint8Array | undefined {
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return undefined;
  return Buffer.from(
    text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
}

/** Base64 without or with padding. */
export function decodeLibarchiveValue(text: string): Uint8Array | undefined {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined;
}

function readOtherTime(data: Uint8Array, from: number, to: number, time: Time): void {
  if (to - from > 64) return;
  const text = String.fromCharCode(...data.subarray(from, to));
  if (!/^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$/.test(text)) return;
  time.present = true;
  time.seconds = clampTime(Math.floor(Number(text)));
  time.ns = 0;
}

function setTime(time: Time, negative: boolean, seconds: number, ns: number): void {
  time.present = true;
  const borrow = negative && ns > 0;
  const whole = negative ? -seconds - (borrow ? 1 : 0) : seconds;
  time.seconds = clampTime(whole) + 0;
  time.ns = borrow ? 1_000_000_000 - ns : ns;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
