/** Numbers and tables for people. Pure. */
import { printable } from '../errors.js';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Decimal units, three digits at most: `30.1 MB`, `512 B`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(value >= 9.995 ? 1 : 2)} ${UNITS[unit]}`;
}

/** `850 ms`, `12.3 s`, `4 min 05 s`. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')} min`;
}

/** `1 layer`, `2 layers`. */
export function formatCount(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** JSON for people and programs: also what JSON need not escape but a terminal obeys is escaped. */
export function jsonText(value: unknown): string {
  return escaped(JSON.stringify(value, undefined, 2));
}

/** The same on one line. */
export function jsonLine(value: unknown): string {
  return escaped(JSON.stringify(value));
}

function escaped(text: string): string {
  return text.replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (c) => `\\u${hex4(c.charCodeAt(0))}`);
}

function hex4(code: number): string {
  return code.toString(16).padStart(4, '0');
}

/** The first twelve hex digits of a digest or DiffID. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha(?:256|512)[:-]/, '').slice(0, 12);
}

/** Of a name with an Appc image id, which has 128 digits, so many as tell images apart; other names are left as they are. */
export function shortImageName(name: string): string {
  return name.replace(/(?<=@sha512-[0-9a-f]{12})[0-9a-f]+$/, '…');
}

/** `3 minutes ago`. */
export function formatAge(sinceMs: number, nowMs: number): string {
  const minutes = Math.max(0, Math.round((nowMs - sinceMs) / 60_000));
  const pick = (n: number, unit: string): string => `${formatCount(n, unit)} ago`;
  if (minutes < 1) return 'just now';
  if (minutes < 90) return pick(minutes, 'minute');
  if (minutes < 48 * 60) return pick(Math.round(minutes / 60), 'hour');
  return pick(Math.round(minutes / 1440), 'day');
}

/** Columns wide enough for their longest cell, two spaces apart; control characters are made visible. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((row) => row.map(printable));
  const widths = header.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)));
  return lines
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
