/**
 * What must be true of a history, whatever happened: every byte that was read is an image's, what a container shows
 * never changes while it is there, nothing fails for a reason that it must not have, and nothing hangs.
 */
import type { Line, Op } from './words.js';

export interface Expectation {
  /** SHA-256 of marker and noise of every image that was ever published. */
  readonly published: ReadonlySet<string>;
  /** How long the longest operation may take; a busy machine is slow, a deadlock is forever. */
  readonly maxOperationMs: number;
}

/** What others do at the same time may lead to these. */
const ALLOWED: Readonly<Partial<Record<Op, readonly string[]>>> = {
  remove: ['LARDER_IMAGE_NOT_FOUND', 'LARDER_IMAGE_IN_USE'],
  pin: ['LARDER_IMAGE_NOT_FOUND'],
  unpin: ['LARDER_IMAGE_NOT_FOUND'],
  'cut-off': ['LARDER_ABORTED'],
};

export interface Summary {
  readonly violations: readonly string[];
  /** That came to an end: as they should, refused for a good reason, or given up by who was told to end. */
  readonly operations: number;
  readonly done: Readonly<Record<string, number>>;
  readonly slowestMs: number;
}

export function checkHistory(lines: readonly Line[], expected: Expectation): Summary {
  const violations: string[] = [];
  const done: Record<string, number> = {};
  const shown = new Map<string, string>();
  const open = new Map<string, Line>();
  let slowestMs = 0;
  let operations = 0;
  for (const line of lines) {
    const who = `${line.worker} (life ${line.life}) ${line.op} ${line.container ?? ''}`.trim();
    const key = `${line.worker} ${line.life}`;
    if (line.what === 'begin') open.set(key, line);
    if (line.what === 'ok' || line.what === 'failed') {
      const tookMs = line.atMs - (open.get(key)?.atMs ?? line.atMs);
      open.delete(key);
      operations++;
      slowestMs = Math.max(slowestMs, tookMs);
      if (tookMs > expected.maxOperationMs) violations.push(`${who}: took ${Math.round(tookMs)} ms`);
      done[`${line.op} ${line.what}`] = (done[`${line.op} ${line.what}`] ?? 0) + 1;
    }
    if (line.what === 'failed' && !isExcused(line)) {
      violations.push(`${who}: ${line.code}: ${line.message}`);
    }
    if (line.what !== 'bytes') continue;
    const { sha256 = '', container } = line;
    if (!expected.published.has(sha256)) violations.push(`${who}: read bytes that no image has: ${sha256}`);
    if (container === undefined) continue;
    if ((shown.get(container) ?? sha256) !== sha256) violations.push(`${who}: what it shows has changed`);
    shown.set(container, sha256);
  }
  return { violations, operations, done, slowestMs };
}

function isExcused({ op, code = '', ending }: Line): boolean {
  return (ALLOWED[op] ?? []).includes(code) || (ending === true && code === 'LARDER_ABORTED');
}

/** The lines of a worker's history, without one that it was killed over. */
export function linesOf(text: string, which: RegExp = /}$/): Line[] {
  return text
    .split('\n')
    .filter((line) => line.endsWith('}') && which.test(line))
    .map((line) => JSON.parse(line) as Line);
}

/** Most lines are about something else, and a long history is read at the beginning of each life. */
const ABOUT_CONTAINERS = /"op":"(?:provision|destroy|recover)"/;

/** The containers that are there after this history, for certain. */
export function knownFrom(text: string): string[] {
  const known = new Set<string>();
  for (const { what, op, container = '', known: kept = [] } of linesOf(text, ABOUT_CONTAINERS)) {
    if (op === 'provision' && what === 'ok') known.add(container);
    if (op === 'destroy' && what === 'begin') {
      for (const each of known) if (`${each}/`.startsWith(`${container}/`)) known.delete(each);
    }
    if (op === 'recover' && what === 'begin') for (const each of known) if (!kept.includes(each)) known.delete(each);
  }
  return [...known];
}
