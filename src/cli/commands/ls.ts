import { displayName } from '../../bytes.js';
import { printable } from '../../errors.js';
import type { LazyImageFs } from '../../pulled-image.js';
import type { ImageEntryType, ImageStat } from '../../tree/image-fs.js';
import { type Command, platformOption } from '../command.js';

interface Listed {
  readonly path: string;
  readonly stat: ImageStat;
  readonly target: string | undefined;
}

const LETTERS: Readonly<Record<ImageEntryType, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  character: 'c',
  block: 'b',
  fifo: 'p',
};

/** `larder ls REF [PATH]` */
export const ls: Command = async ({ larder, onEvent, signal }, [reference = '', path = '/'], options) => {
  const store = await larder();
  await using image = await store.pull(reference, { onEvent, signal, ...platformOption(options) });
  const entries = await list(image.fs, path, options['recursive'] === true);
  return {
    data: entries.map(({ path: name, stat, target }) => ({ path: name, ...stat, target })),
    text: entries.map(options['long'] === true ? longLine : (entry) => printable(entry.path)).join('\n'),
  };
};

async function list(fs: LazyImageFs, path: string, recursive: boolean): Promise<Listed[]> {
  const top = await fs.stat(path);
  if (top.type !== 'directory') return [await listed(fs, path, path)];
  const entries: Listed[] = [];
  if (recursive) {
    for await (const entry of fs.walk(path)) entries.push(await listed(fs, entry.pathBytes, entry.path));
    return entries;
  }
  const base = Buffer.from(path.endsWith('/') ? path : `${path}/`);
  for (const entry of await fs.readdir(path))
    entries.push(await listed(fs, Buffer.concat([base, entry.bytes]), entry.name));
  return entries;
}

async function listed(fs: LazyImageFs, path: string | Uint8Array, shown: string): Promise<Listed> {
  const stat = await fs.lstat(path);
  return { path: shown, stat, target: stat.type === 'symlink' ? displayName(await fs.readlink(path)) : undefined };
}

function longLine({ path, stat, target }: Listed): string {
  const size =
    stat.type === 'character' || stat.type === 'block' ? `${stat.devMajor}, ${stat.devMinor}` : String(stat.size);
  const time = timeOf(stat.mtime);
  const columns = [
    modeText(stat),
    String(stat.nlink).padStart(3),
    `${stat.uid}:${stat.gid}`.padEnd(11),
    size.padStart(11),
    time,
  ];
  return printable(`${columns.join(' ')} ${path}${target === undefined ? '' : ` -> ${target}`}`);
}

function timeOf(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().slice(0, 16).replace('T', ' ');
}

function modeText({ type, mode }: ImageStat): string {
  const bits = [0o400, 0o200, 0o100, 0o40, 0o20, 0o10, 4, 2, 1].map((bit, i) =>
    (mode & bit) === 0 ? '-' : 'rwx'.charAt(i % 3),
  );
  const special = (bit: number, place: number, letter: string): void => {
    if ((mode & bit) !== 0) bits[place] = bits[place] === 'x' ? letter : letter.toUpperCase();
  };
  special(0o4000, 2, 's');
  special(0o2000, 5, 's');
  special(0o1000, 8, 't');
  return LETTERS[type] + bits.join('');
}
