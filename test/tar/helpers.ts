/** Entries as plain data, so that tests can compare whole archives. */
import { isLarderError } from '../../src/errors.js';
import { DEFAULT_LAYER_LIMITS, ENTRY, type LayerLimits, type TarEntry } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';

export interface Seen extends Omit<TarEntry, 'type' | 'path' | 'link' | 'xattrs'> {
  readonly type: keyof typeof ENTRY;
  /** Bytes as latin1 text, as all text here. */
  readonly path: string;
  readonly link: string;
  readonly xattrs: Readonly<Record<string, string>>;
  /** What the archive holds at `offset`. */
  readonly content: string;
}

export interface ReadOptions {
  readonly chunk?: number;
  readonly limits?: Partial<LayerLimits>;
}

export function readTar(archive: Uint8Array, options: ReadOptions = {}): Seen[] {
  const seen: Seen[] = [];
  const reader = new TarReader(
    { entry: (entry) => seen.push(snapshot(entry, archive)) },
    { ...DEFAULT_LAYER_LIMITS, ...options.limits },
    'test',
  );
  const step = options.chunk ?? Math.max(1, archive.length);
  // Each chunk is a copy that is overwritten after use: a reader that keeps a view of it is found out.
  for (let i = 0; i < archive.length; i += step) {
    const chunk = Uint8Array.prototype.slice.call(archive, i, i + step);
    reader.write(chunk);
    chunk.fill(0x41);
  }
  reader.end();
  return seen;
}

/** The one entry of an archive that has one. */
export function readOne(archive: Uint8Array, options: ReadOptions = {}): Seen {
  const [entry, ...more] = readTar(archive, options);
  if (entry === undefined || more.length > 0) throw new Error(`expected one entry, found ${more.length + 1}`);
  return entry;
}

/** `ok`, or the code that refuses the archive. */
export function verdictOf(archive: Uint8Array, options: ReadOptions = {}): string {
  try {
    readTar(archive, options);
    return 'ok';
  } catch (error) {
    if (isLarderError(error)) return error.code;
    throw error;
  }
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

/** A sparse file as its reader sees it. */
export function expand(entry: Seen): Buffer {
  const content = Buffer.from(entry.content, 'latin1');
  if (entry.sparse === undefined) return content;
  const whole = Buffer.alloc(entry.size);
  let from = 0;
  for (const { offset, length } of entry.sparse) {
    content.copy(whole, offset, from, from + length);
    from += length;
  }
  return whole;
}

const TYPE_NAMES = Object.fromEntries(Object.entries(ENTRY).map(([name, type]) => [type, name])) as {
  [type: number]: keyof typeof ENTRY;
};

function snapshot(entry: TarEntry, archive: Uint8Array): Seen {
  return {
    ...entry,
    type: TYPE_NAMES[entry.type] ?? 'file',
    path: latin1(entry.path),
    link: latin1(entry.link),
    xattrs: Object.fromEntries(entry.xattrs.map(({ name, value }) => [latin1(name), latin1(value)])),
    sparse: entry.sparse?.map((run) => ({ ...run })),
    content: latin1(archive.subarray(entry.offset, entry.offset + entry.stored)),
  };
}
