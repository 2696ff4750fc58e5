/**
 * ▸ How the value of a single setting is written: as a text (options, variables) or as what it is (files, the
 * library). Owns nothing on disk; reads a document that a setting names by its path. Errors never quote a value that
 * may be a secret.
 */
import { LarderError, systemError } from './errors.js';
import { readPlainFile } from './linux/plain-file.js';
import { parseJson } from './spec/json.js';

const MAX_DOCUMENT_BYTES = 1024 * 1024;

/** Mesos writes `1mins`, `30secs`, `1.5hrs`; the short forms are everybody else's. */
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  ms: 1,
  s: 1000,
  secs: 1000,
  m: 60_000,
  mins: 60_000,
  h: 3_600_000,
  hrs: 3_600_000,
  d: 86_400_000,
  days: 86_400_000,
  w: 604_800_000,
  weeks: 604_800_000,
};
export const DURATION = 'a duration above 0, such as 60, 30secs, 1mins, 2hrs, 7days, 1weeks';
/** setTimeout takes no longer one. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/** Milliseconds of a number of seconds, or of a text in Mesos's form; undefined for what is neither. */
export function parseDurationMs(value: unknown, atLeastMs = 1, atMostMs = MAX_DURATION_MS): number | undefined {
  const ms = typeof value === 'number' ? value * 1000 : typeof value === 'string' ? textMs(value) : Number.NaN;
  const whole = Math.round(ms);
  return Number.isFinite(ms) && whole >= atLeastMs && whole <= atMostMs ? whole : undefined;
}

function textMs(text: string): number {
  const [, amount = '', unit = 's'] = /^(\d{1,15}(?:\.\d{1,9})?)([a-z]+)?$/.exec(text) ?? [];
  const factor = Object.hasOwn(UNIT_MS, unit) ? UNIT_MS[unit] : undefined;
  return amount === '' || factor === undefined ? Number.NaN : Number(amount) * factor;
}

/** A setting that is a document: in place, or the path of the file that has it. */
export type DocumentSource =
  | { readonly kind: 'inline'; readonly text: string }
  | { readonly kind: 'file'; readonly path: string };

/** Inline JSON, `file:///path`, a path; in a configuration file also the object itself. Undefined for what is neither. */
export function documentSource(value: unknown): DocumentSource | undefined {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return { kind: 'inline', text: JSON.stringify(value) };
  if (typeof value !== 'string' || value.trim() === '' || value.includes('\0')) return undefined;
  if (/^\s*[{[]/.test(value)) return { kind: 'inline', text: value };
  if (!value.startsWith('file:')) return { kind: 'file', path: value };
  const [, path] = /^file:\/\/(?:localhost)?(\/.+)$/.exec(value) ?? [];
  return path === undefined ? undefined : { kind: 'file', path };
}

/** The document, parsed. Rejects with LARDER_FLAGS_INVALID, or the system's code when the file cannot be read. */
export function readDocument(source: DocumentSource, doing: string): unknown {
  const bytes = source.kind === 'inline' ? Buffer.from(source.text) : fileBytes(source.path, doing);
  const where = source.kind === 'inline' ? doing : `${doing}: ${source.path}`;
  try {
    return parseJson(bytes, { doing: where, maxBytes: MAX_DOCUMENT_BYTES, code: 'LARDER_FLAGS_INVALID' });
  } catch (error) {
    // The parser's own error quotes the text.
    if (error instanceof LarderError) throw new LarderError(error.code, error.message);
    throw error;
  }
}

function fileBytes(path: string, doing: string): Buffer {
  try {
    return readPlainFile(path, { doing, code: 'LARDER_FLAGS_INVALID', maxBytes: MAX_DOCUMENT_BYTES });
  } catch (error) {
    throw systemError(`${doing}: ${path}`, error);
  }
}

/** Refuses keys that an object of settings does not have, with the nearest known name. */
export function refuseUnknownKeys(object: object, known: readonly string[], doing: string): void {
  for (const name of Object.keys(object)) {
    if (known.includes(name)) continue;
    const near = nearestName(name, known);
    throw new LarderError('LARDER_FLAGS_INVALID', `${doing}: ${JSON.stringify(name.slice(0, 80))}: no such key`, {
      hint: near === undefined ? `known keys: ${known.join(', ')}` : `did you mean ${near}?`,
    });
  }
}

/** The known name that is nearest to a misspelled one, when one is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const short = name.slice(0, 80).toLowerCase();
  const ranked = known.map((k) => ({ k, d: editDistance(short, k) })).sort((a, b) => a.d - b.d);
  const best = ranked[0];
  return best !== undefined && best.d <= Math.max(2, short.length / 3) ? best.k : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
