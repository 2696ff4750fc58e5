/** When somebody wants to go back to, as people write it. */
import { parseDurationMs } from '../../config.js';
import { LarderError } from '../../errors.js';
import { isDigest } from '../../spec/digest.js';
import type { Moment } from './tag-history.js';

/** ISO 8601; without a zone it is the time of this machine, and a day alone begins at midnight UTC. */
const TIME = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/;
const AGO = /^(\d{1,15}(?:\.\d{1,9})?) ?([a-z]+)(?: ago)?$/;
/** What people call the units of durations. */
const UNITS: Readonly<Record<string, string>> = {
  ...{ s: 'secs', sec: 'secs', second: 'secs', seconds: 'secs' },
  ...{ m: 'mins', min: 'mins', minute: 'mins', minutes: 'mins' },
  ...{ h: 'hrs', hr: 'hrs', hour: 'hrs', hours: 'hrs' },
  ...{ d: 'days', day: 'days', w: 'weeks', week: 'weeks' },
};
const BEGINNING = /^(?:(sha256|sha512):)?([0-9a-f]{4,128})$/;

/** `sha256:…`, the beginning of one, a time, or how long ago it was (`2hrs`, `7days`, `2 days ago`). Rejects with LARDER_REQUEST_INVALID. */
export function parseMoment(text: string, nowMs: number): Moment {
  if (isDigest(text)) return { kind: 'digest', text, digest: text };
  const [, algorithm = 'sha256', hex] = BEGINNING.exec(text) ?? [];
  if (hex !== undefined) return { kind: 'digest', text, digest: `${algorithm}:${hex}` };
  const [, count = '', unit = ''] = AGO.exec(text) ?? [];
  const ago = parseDurationMs(`${count}${UNITS[unit] ?? unit}`, 0, Number.MAX_SAFE_INTEGER);
  if (unit !== '' && ago !== undefined) return { kind: 'time', text, atMs: nowMs - ago };
  const atMs = TIME.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  if (!Number.isNaN(atMs)) return { kind: 'time', text, atMs };
  throw new LarderError(
    'LARDER_REQUEST_INVALID',
    `as of ${JSON.stringify(text.slice(0, 100))}: neither a time nor a digest`,
    {
      hint: 'for example 2026-11-22, 2026-11-22T08:00Z, 7days (ago), or the beginning of a digest that `larder history` lists',
    },
  );
}
