/**
 * ▸ Tar archives for tests, byte for byte: a small algebra whose words are entries and whose sentence is {@link tar}.
 * Deterministic, without dependencies, and able to say everything that a real or a hostile archive says.
 *
 *     tar([dir('etc'), file('etc/os-release', 'ID=x\n', { mode: 0o600 }), whiteout('etc/passwd'), opaque('var')])
 *
 * Every word returns the whole 512-byte blocks of its entry, extension headers included, so that parts can be cut,
 * joined and damaged at will. What does not fit into a ustar header (long names, large ids, nanoseconds, times before
 * 1970, xattrs) goes into a pax header of its own accord.
 */

/** A name or a value: text is encoded as UTF-8, bytes are taken as they are. */
export type Bytes = string | Uint8Array;

/** Records of a pax header, in order; keys may repeat. Values are binary-safe. */
export type PaxRecords = Readonly<Record<string, Bytes>> | readonly (readonly [key: Bytes, value: Bytes])[];

export interface EntryOptions {
  /** Permission bits; 0o644, for directories 0o755, for symlinks 0o777. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Whole seconds, may be negative. 0 unless given. */
  readonly mtime?: number;
  readonly mtimeNs?: number;
  readonly xattrs?: Readonly<Record<string, Bytes>> | readonly (readonly [name: Bytes, value: Bytes])[];
  /** Further pax records, after those that the entry needs itself. */
  readonly pax?: PaxRecords;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** The size that the header claims, instead of the content's. */
  readonly size?: number;
  /** The typeflag that the header shows, instead of the word's own. */
  readonly typeflag?: string;
  /** `ustar` (default), `gnu` (magic, long names as L and K entries, base-256 numbers), or `v7` (no magic, no prefix). */
  readonly format?: 'ustar' | 'gnu' | 'v7';
  /** How the checksum is made; `bad` is off by one. */
  readonly checksum?: 'unsigned' | 'signed' | 'bad';
  /** Last word on the header's bytes, before the checksum is made. */
  readonly patch?: (header: Buffer) => void;
}

const BLOCK = 512;

/** The archive: the parts, then the end mark. `end` counts its zero blocks (2), `trailing` follows them. */
export function tar(
  parts: readonly Uint8Array[],
  options: { readonly end?: number; readonly trailing?: Uint8Array } = {},
): Buffer {
  return Buffer.concat([...parts, Buffer.alloc(BLOCK * (options.end ?? 2)), options.trailing ?? Buffer.alloc(0)]);
}

export function file(path: Bytes, content: Bytes = '', options: EntryOptions = {}): Buffer {
  const data = bytes(content);
  return Buffer.concat([entry('0', path, '', data.length, options), padded(data)]);
}

export function dir(path: Bytes, options: EntryOptions = {}): Buffer {
  const name = bytes(path);
  const slashed = name.at(-1) === 0x2f ? name : Buffer.concat([name, Buffer.from('/')]);
  return entry('5', slashed, '', 0, { mode: 0o755, ...options });
}

export function symlink(path: Bytes, target: Bytes, options: EntryOptions = {}): Buffer {
  return entry('2', path, target, 0, { mode: 0o777, ...options });
}

export function hardlink(path: Bytes, target: Bytes, options: EntryOptions = {}): Buffer {
  return entry('1', path, target, 0, options);
}

export function char(path: Bytes, devMajor: number, devMinor: number, options: EntryOptions = {}): Buffer {
  return entry('3', path, '', 0, { devMajor, devMinor, ...options });
}

export function block(path: Bytes, devMajor: number, devMinor: number, options: EntryOptions = {}): Buffer {
  return entry('4', path, '', 0, { devMajor, devMinor, ...options });
}

export function fifo(path: Bytes, options: EntryOptions = {}): Buffer {
  return entry('6', path, '', 0, options);
}

/** The OCI mark that hides `path` of the layers below. */
export function whiteout(path: string, options: EntryOptions = {}): Buffer {
  const slash = path.lastIndexOf('/') + 1;
  return file(`${path.slice(0, slash)}.wh.${path.slice(slash)}`, '', options);
}

/** The OCI mark that hides everything below the directory `path` ('' is the root). */
export function opaque(path: string, options: EntryOptions = {}): Buffer {
  return file(path === '' ? '.wh..wh..opq' : `${path}/.wh..wh..opq`, '', options);
}

/** Bytes as they are; headers made elsewhere. */
export function raw(...pieces: readonly Uint8Array[]): Buffer {
  return Buffer.concat(pieces);
}

/** A pax header by itself; `global` makes it a `g`. For records that are wrong on purpose give bytes. */
export function paxHeader(
  records: PaxRecords | Uint8Array,
  options: EntryOptions & { readonly global?: boolean } = {},
): Buffer {
  const data = records instanceof Uint8Array ? records : paxRecords(records);
  const { global = false, ...rest } = options;
  const header = ustarHeader(global ? 'g' : 'x', Buffer.from('PaxHeaders/x'), Buffer.alloc(0), data.length, rest);
  return Buffer.concat([header, padded(data)]);
}

/** A GNU long name (`L`) or long link (`K`) entry by itself; the terminating NUL is added. */
export function gnuLong(kind: 'L' | 'K', value: Bytes, options: EntryOptions = {}): Buffer {
  const data = Buffer.concat([bytes(value), Buffer.alloc(1)]);
  const name = Buffer.from('././@LongLink');
  return Buffer.concat([
    ustarHeader(kind, name, Buffer.alloc(0), data.length, { format: 'gnu', ...options }),
    padded(data),
  ]);
}

export interface BuiltRun {
  readonly offset: number;
  readonly data: Bytes;
}

/** A sparse file of `size` bytes with real bytes only in `runs`, in one of GNU's four encodings. */
export function sparse(
  path: Bytes,
  size: number,
  runs: readonly BuiltRun[],
  encoding: 'gnu' | '0.0' | '0.1' | '1.0' = 'gnu',
  options: EntryOptions = {},
): Buffer {
  const content = Buffer.concat(runs.map((run) => bytes(run.data)));
  const map = runs.map((run) => [run.offset, bytes(run.data).length] as const);
  if (encoding === 'gnu') return oldGnuSparse(path, size, map, content, options);
  if (encoding === '1.0') {
    const text = Buffer.from(`${map.length}\n${map.map(([offset, length]) => `${offset}\n${length}\n`).join('')}`);
    const data = Buffer.concat([padded(text), content]);
    const pax: [Bytes, Bytes][] = [
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', path],
      ['GNU.sparse.realsize', String(size)],
    ];
    return file('GNUSparseFile.0/x', data, { ...options, pax: [...pax, ...pairs(options.pax)] });
  }
  const pax: [Bytes, Bytes][] = [
    ['GNU.sparse.size', String(size)],
    ['GNU.sparse.numblocks', String(map.length)],
  ];
  if (encoding === '0.0') {
    for (const [offset, length] of map) {
      pax.push(['GNU.sparse.offset', String(offset)], ['GNU.sparse.numbytes', String(length)]);
    }
    return file(path, content, { ...options, pax: [...pax, ...pairs(options.pax)] });
  }
  pax.push(['GNU.sparse.name', path], ['GNU.sparse.map', map.flat().join(',')]);
  return file('GNUSparseFile.0/x', content, { ...options, pax: [...pax, ...pairs(options.pax)] });
}

/** The records' bytes, each with its right length. */
export function paxRecords(records: PaxRecords): Buffer {
  return Buffer.concat(pairs(records).map(([key, value]) => paxRecord(key, value)));
}

/** One `length key=value\n` record; `length` may be claimed. */
export function paxRecord(key: Bytes, value: Bytes, claimed?: number): Buffer {
  const rest = Buffer.concat([Buffer.from(' '), bytes(key), Buffer.from('='), bytes(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(claimed ?? length)), rest]);
}

/** Zero-padded to whole blocks. */
export function padded(data: Uint8Array): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

/** Makes `header`'s checksum right again (or wrong) after its bytes were changed. */
export function setChecksum(header: Buffer, how: 'unsigned' | 'signed' | 'bad' = 'unsigned'): Buffer {
  header.fill(0x20, 148, 156);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += how === 'signed' ? header.readInt8(i) : header.readUInt8(i);
  if (how === 'bad') sum += 1;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** A number in GNU's base-256 form, two's complement, over the whole field. */
export function base256(header: Buffer, offset: number, length: number, value: bigint): void {
  let rest = value;
  for (let i = offset + length - 1; i >= offset; i--) {
    header[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  header[offset] = value < 0n ? 0xff : header.readUInt8(offset) | 0x80;
}

function entry(typeflag: string, path: Bytes, link: Bytes, size: number, options: EntryOptions): Buffer {
  const name = bytes(path);
  const target = bytes(link);
  const format = options.format ?? 'ustar';
  const extra: Buffer[] = [];
  if (format === 'gnu') {
    if (target.length > 100) extra.push(gnuLong('K', target));
    if (name.length > 100) extra.push(gnuLong('L', name));
  }
  const records = [...needed(name, target, format, options), ...pairs(options.pax)];
  if (records.length > 0) extra.push(paxHeader(records));
  return Buffer.concat([...extra, ustarHeader(typeflag, name, target, size, options)]);
}

/** The pax records that an entry cannot do without. */
function needed(name: Buffer, target: Buffer, format: string, options: EntryOptions): (readonly [Bytes, Bytes])[] {
  const records: (readonly [Bytes, Bytes])[] = [];
  const { uid = 0, gid = 0, mtime = 0, mtimeNs = 0 } = options;
  if (format === 'ustar') {
    if (splitName(name) === undefined) records.push(['path', name]);
    if (target.length > 100) records.push(['linkpath', target]);
    if (uid > 0o7777777) records.push(['uid', String(uid)]);
    if (gid > 0o7777777) records.push(['gid', String(gid)]);
  }
  if (mtimeNs !== 0 || (format !== 'gnu' && (mtime < 0 || mtime > 0o77777777777))) {
    records.push(['mtime', decimalTime(mtime, mtimeNs)]);
  }
  for (const [key, value] of pairs(options.xattrs)) {
    records.push([Buffer.concat([Buffer.from('SCHILY.xattr.'), bytes(key)]), value]);
  }
  return records;
}

/** Floor seconds and nanoseconds as a decimal fraction: -2 s and 500,000,000 ns are `-1.500000000`. */
function decimalTime(seconds: number, ns: number): string {
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(ns);
  const abs = total < 0n ? -total : total;
  const fraction = String(abs % 1_000_000_000n).padStart(9, '0');
  return `${total < 0n ? '-' : ''}${abs / 1_000_000_000n}.${fraction}`;
}

function ustarHeader(typeflag: string, name: Buffer, target: Buffer, size: number, options: EntryOptions): Buffer {
  const format = options.format ?? 'ustar';
  const header = Buffer.alloc(BLOCK);
  const split = format === 'ustar' ? splitName(name) : undefined;
  (split?.name ?? name.subarray(0, 100)).copy(header, 0);
  split?.prefix.copy(header, 345);
  target.copy(header, 157, 0, 100);
  number(header, 100, 8, options.mode ?? 0o644);
  number(header, 108, 8, options.uid ?? 0, format);
  number(header, 116, 8, options.gid ?? 0, format);
  number(header, 124, 12, options.size ?? size, 'gnu');
  number(header, 136, 12, options.mtime ?? 0, format);
  header.write(options.typeflag ?? typeflag, 156, 'latin1');
  if (format !== 'v7') {
    header.write(format === 'gnu' ? 'ustar  \0' : 'ustar\x0000', 257, 'latin1');
    number(header, 329, 8, options.devMajor ?? 0, format);
    number(header, 337, 8, options.devMinor ?? 0, format);
  }
  options.patch?.(header);
  return setChecksum(header, options.checksum);
}

/** Octal where it fits; else base-256 for GNU, and 0 where a pax record says it instead. */
function number(header: Buffer, offset: number, length: number, value: number, format = 'ustar'): void {
  const fits = value >= 0 && value < 8 ** (length - 1);
  if (!fits && format === 'gnu') base256(header, offset, length, BigInt(value));
  else header.write((fits ? value : 0).toString(8).padStart(length - 1, '0'), offset, 'latin1');
}

/** The name in a ustar header's two fields; undefined when it does not fit. */
function splitName(name: Buffer): { prefix: Buffer; name: Buffer } | undefined {
  if (name.length <= 100) return { prefix: Buffer.alloc(0), name };
  const slash = name.indexOf(0x2f, Math.max(0, name.length - 101));
  if (slash < 1 || slash > 155 || slash === name.length - 1) return undefined;
  return { prefix: name.subarray(0, slash), name: name.subarray(slash + 1) };
}

function oldGnuSparse(
  path: Bytes,
  size: number,
  map: readonly (readonly [number, number])[],
  content: Buffer,
  options: EntryOptions,
): Buffer {
  const header = entry('S', path, '', content.length, {
    ...options,
    format: 'gnu',
    patch: (h) => {
      map.slice(0, 4).forEach(([offset, length], i) => {
        number(h, 386 + i * 24, 12, offset, 'gnu');
        number(h, 398 + i * 24, 12, length, 'gnu');
      });
      if (map.length > 4) h[482] = 1;
      number(h, 483, 12, size, 'gnu');
      options.patch?.(h);
    },
  });
  const extensions: Buffer[] = [];
  for (let start = 4; start < map.length; start += 21) {
    const extension = Buffer.alloc(BLOCK);
    map.slice(start, start + 21).forEach(([offset, length], i) => {
      number(extension, i * 24, 12, offset, 'gnu');
      number(extension, i * 24 + 12, 12, length, 'gnu');
    });
    if (map.length > start + 21) extension[504] = 1;
    extensions.push(extension);
  }
  return Buffer.concat([header, ...extensions, padded(content)]);
}

function bytes(value: Bytes): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

function pairs(records: PaxRecords | undefined): readonly (readonly [Bytes, Bytes])[] {
  if (records === undefined) return [];
  return isPairs(records) ? records : Object.entries(records);
}

function isPairs(records: PaxRecords): records is readonly (readonly [Bytes, Bytes])[] {
  return Array.isArray(records);
}
