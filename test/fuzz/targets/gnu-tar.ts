/**
 * Two readers of one archive: where ours takes it and GNU tar finds nothing wrong with it, both must see the same
 * entries. Whoever scans a layer with another reader than the one that unpacks it is who a difference would betray.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { DEFAULT_LAYER_LIMITS, ENTRY, type TarEntry } from '../../../src/tar/entry.js';
import { TarReader } from '../../../src/tar/reader.js';
import type { FuzzTarget } from '../target.js';
import { makeArchive, mutateArchive, tarTarget } from './tar.js';

const ARGS = ['--list', '--verbose', '--numeric-owner', '--full-time', '--utc', '--quoting-style=c', '-f', '-'];
const LINE =
  /^([-dlhcbpC])(\S{9})\S* +(\d+)\/(\d+) +(\S+) (-?\d+-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) +"((?:[^"\\]|\\.)*)"(?: (?:->|link to) "((?:[^"\\]|\\.)*)")?$/;

/** GNU tar prints times before 1970 that have a fraction a second or two off; years beyond four digits nobody reads alike. */
const ODD_TIME = 'before 1970, and a fraction, or in no year of four digits';
const [FIRST_TIME, END_TIME] = [Date.parse('0000-01-01') / 1000, Date.parse('+010000-01-01') / 1000];

export function openGnuTarTarget(): FuzzTarget | undefined {
  const version = spawnSync('tar', ['--version'], { encoding: 'utf8' });
  if (version.status !== 0 || !version.stdout.includes('GNU tar')) return undefined;
  return {
    name: 'gnu-tar',
    codes: tarTarget.codes,
    short: { runs: 200, meets: ['ok', 'LARDER_LAYER_INVALID'] },
    make: makeArchive,
    mutate: mutateArchive,
    run(archive) {
      const ours: string[] = [];
      const reader = new TarReader({ entry: (entry) => ours.push(lineOf(entry)) }, DEFAULT_LAYER_LIMITS);
      reader.write(archive);
      reader.end();
      if (isAsInGo(archive)) return 'not compared';
      const { status, stdout } = spawnSync('tar', ARGS, { input: archive, maxBuffer: 1 << 26, env: { LC_ALL: 'C' } });
      if (status !== 0) return 'refused by GNU tar';
      const theirs = stdout
        .toString('latin1')
        .trimEnd()
        .split('\n')
        .filter((line) => line !== '')
        .map(theirLine);
      assert.deepEqual(ours, theirs);
      return ours;
    },
    budgetMs: (archive) => 500 + archive.length / 100,
  };
}

const LETTERS = {
  [ENTRY.file]: '-',
  [ENTRY.directory]: 'd',
  [ENTRY.symlink]: 'l',
  [ENTRY.hardlink]: 'h',
  [ENTRY.character]: 'c',
  [ENTRY.block]: 'b',
  [ENTRY.fifo]: 'p',
};

/**
 * Where we read as Go does, and not as GNU tar: a global header says nothing of the entries that follow, and where GNU
 * keeps a time, Go's old headers have the beginning of a name.
 */
function isAsInGo(archive: Buffer): boolean {
  for (let header = 0; header + 512 <= archive.length; header += 512) {
    const isGnu = archive.toString('latin1', header + 257, header + 265) === 'ustar  \0';
    if (archive[header + 156] === 0x67 || (isGnu && archive[header + 345] !== 0)) return true;
  }
  return false;
}

function lineOf(entry: TarEntry): string {
  const { type, mode, uid, gid, size, mtime, mtimeNs, devMajor, devMinor } = entry;
  const isDevice = type === ENTRY.character || type === ENTRY.block;
  const what = isDevice ? `${devMajor},${devMinor}` : type === ENTRY.file ? String(size) : '0';
  const odd = (mtime < 0 && mtimeNs > 0) || mtime < FIRST_TIME || mtime >= END_TIME;
  const time = odd ? ODD_TIME : mtime;
  return JSON.stringify([
    LETTERS[type],
    permissions(mode),
    uid,
    gid,
    what,
    time,
    latin1(entry.path),
    latin1(entry.link),
  ]);
}

function theirLine(line: string): string {
  const [, letter = '', mode = '', uid, gid, size = '', time = '', path = '', link = ''] = LINE.exec(line) ?? [line];
  // A contiguous file (type 7) is a file to whoever cannot make it contiguous.
  const type = letter === 'C' ? '-' : letter;
  const [whole = '', fraction] = time.split('.');
  const mtime = Date.parse(`${whole.replace(' ', 'T')}Z`) / 1000;
  const what = /[-cb]/.test(type) ? size : '0';
  const odd = (mtime < 0 && fraction !== undefined) || !/^\d{4}-/.test(whole);
  const shown = odd ? ODD_TIME : mtime;
  return JSON.stringify([type, mode, Number(uid), Number(gid), what, shown, unquote(path), unquote(link)]);
}

function permissions(mode: number): string {
  const bits = [...'rwxrwxrwx'].map((letter, i) => ((mode >> (8 - i)) & 1 ? letter : '-'));
  const special = (bit: number, at: number, letter: string): void => {
    if (mode & bit) bits[at] = bits[at] === 'x' ? letter : letter.toUpperCase();
  };
  special(0o4000, 2, 's');
  special(0o2000, 5, 's');
  special(0o1000, 8, 't');
  return bits.join('');
}

const ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

function unquote(text: string): string {
  return text.replace(/\\([0-7]{3}|.)/g, (_, what: string) =>
    what.length === 3 ? String.fromCharCode(Number.parseInt(what, 8)) : (ESCAPES[what] ?? what),
  );
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
