/**
 * The records of a pax extended header (POSIX.1-2001 pax, "pax Extended Header") that say something of an entry, and
 * GNU's `L` and `K` long names, which say it in another way. Everything pending for the next entry is in one
 * {@link Extensions} object, which is reused.
 */
import { displayName, u8 } from '../bytes.js';
import { ByteString } from './byte-string.js';
import type { Xattr } from './entry.js';
import type { Refuse } from './header.js';
import { decimal, decodeLibarchiveName, decodeLibarchiveValue, readTime, type Time } from './pax-values.js';

/** Where a name came from: an entry may get it from one place only. */
type Source = 'header' | 'pax' | 'gnu';

const SCHILY_XATTR = 'SCHILY.xattr.';
const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.';
const NO_XATTRS: readonly Xattr[] = [];

export class Extensions {
  /** Whether anything is pending. */
  pending = false;
  /** Whether a pax header is pending: a second one is refused. */
  pax = false;
  readonly path = new ByteString();
  pathFrom: Source = 'header';
  readonly link = new ByteString();
  linkFrom: Source = 'header';
  /** -1 where no record says it; likewise below. */
  size = -1;
  uid = -1;
  gid = -1;
  devMajor = -1;
  devMinor = -1;
  readonly time: Time = { present: false, seconds: 0, ns: 0 };
  /** The map's numbers of a sparse file of format 0.0 or 0.1. */
  sparseMap: number[] | undefined;
  sparseMajor = -1;
  sparseMinor = -1;
  sparseSize = -1;
  sparseBlocks = -1;
  /** Whether any GNU.sparse record was seen. */
  sparse = false;

  #sparseNamed = false;
  #xattrs: Map<string, Xattr> | undefined;
  #libarchive: Map<string, Xattr> | undefined;

  /** Extended attributes, each name once. An attribute in both forms has the SCHILY value. */
  get xattrs(): readonly Xattr[] {
    if (this.#libarchive === undefined) return this.#xattrs === undefined ? NO_XATTRS : [...this.#xattrs.values()];
    return [...new Map([...this.#libarchive, ...(this.#xattrs ?? [])]).values()];
  }

  reset(): void {
    if (!this.pending) return;
    this.pending = false;
    this.pax = false;
    this.pathFrom = 'header';
    this.linkFrom = 'header';
    this.size = -1;
    this.uid = -1;
    this.gid = -1;
    this.devMajor = -1;
    this.devMinor = -1;
    this.time.present = false;
    this.sparseMap = undefined;
    this.sparseMajor = -1;
    this.sparseMinor = -1;
    this.sparseSize = -1;
    this.sparseBlocks = -1;
    this.sparse = false;
    this.#sparseNamed = false;
    this.#xattrs = undefined;
    this.#libarchive = undefined;
  }

  /** Takes a GNU long name or long link: text, then NULs. */
  setGnu(kind: 'path' | 'link', data: Uint8Array, length: number, refuse: Refuse): void {
    let end = 0;
    while (end < length && u8(data, end) !== 0) end++;
    for (let i = end; i < length; i++) if (u8(data, i) !== 0) throw refuse('a GNU long name has a NUL inside');
    this.pending = true;
    if (kind === 'path') {
      if (this.pathFrom !== 'header') throw refuse('its name is given by two extension headers');
      this.path.set(data, 0, end);
      this.pathFrom = 'gnu';
    } else {
      if (this.linkFrom !== 'header') throw refuse('its link target is given by two extension headers');
      this.link.set(data, 0, end);
      this.linkFrom = 'gnu';
    }
  }

  /** Takes the records of a local (`x`) header. Among equal keys the last one counts. */
  setPax(data: Uint8Array, length: number, refuse: Refuse): void {
    if (this.pax) throw refuse('two pax headers stand before one entry');
    this.pending = true;
    this.pax = true;
    readRecords(data, length, refuse, this);
  }

  record(data: Uint8Array, key: number, equals: number, end: number, refuse: Refuse): void {
    const value = equals + 1;
    if (is(data, key, equals, 'mtime')) readTime(data, value, end, this.time);
    else if (is(data, key, equals, 'path')) this.#setPath(data, value, end, refuse);
    else if (is(data, key, equals, 'linkpath')) this.#setLink(data, value, end, refuse);
    else if (is(data, key, equals, 'size')) this.size = decimal(data, value, end, 'size', refuse);
    else if (is(data, key, equals, 'uid')) this.uid = decimal(data, value, end, 'uid', refuse);
    else if (is(data, key, equals, 'gid')) this.gid = decimal(data, value, end, 'gid', refuse);
    else if (startsWith(data, key, equals, SCHILY_XATTR)) this.#setSchily(data, key, equals, end, refuse);
    else if (startsWith(data, key, equals, LIBARCHIVE_XATTR)) this.#setLibarchive(data, key, equals, end, refuse);
    else if (startsWith(data, key, equals, 'GNU.sparse.')) this.#setSparse(data, key, equals, end, refuse);
    else if (is(data, key, equals, 'SCHILY.devmajor')) this.devMajor = decimal(data, value, end, 'devmajor', refuse);
    else if (is(data, key, equals, 'SCHILY.devminor')) this.devMinor = decimal(data, value, end, 'devminor', refuse);
    // Everything else (comment, hdrcharset, atime, SCHILY.fflags, …) says nothing that larder keeps.
  }

  #setPath(data: Uint8Array, from: number, to: number, refuse: Refuse): void {
    if (this.#sparseNamed) return;
    if (this.pathFrom === 'gnu') throw refuse('its name is given by two extension headers');
    withoutNul(data, from, to, 'path', refuse);
    this.path.set(data, from, to);
    // An empty value withdraws the record.
    this.pathFrom = to > from ? 'pax' : 'header';
  }

  #setLink(data: Uint8Array, from: number, to: number, refuse: Refuse): void {
    if (this.linkFrom === 'gnu') throw refuse('its link target is given by two extension headers');
    withoutNul(data, from, to, 'linkpath', refuse);
    this.link.set(data, from, to);
    this.linkFrom = to > from ? 'pax' : 'header';
  }

  #setSchily(data: Uint8Array, key: number, equals: number, end: number, refuse: Refuse): void {
    const name = data.slice(key + SCHILY_XATTR.length, equals);
    this.#xattrs ??= new Map();
    putXattr(this.#xattrs, name, data.slice(equals + 1, end), refuse);
  }

  #setLibarchive(data: Uint8Array, key: number, equals: number, end: number, refuse: Refuse): void {
    const name = decodeLibarchiveName(text(data, key + LIBARCHIVE_XATTR.length, equals));
    const value = decodeLibarchiveValue(text(data, equals + 1, end));
    if (name === undefined || value === undefined) throw refuse('a LIBARCHIVE.xattr record cannot be decoded');
    this.#libarchive ??= new Map();
    putXattr(this.#libarchive, name, value, refuse);
  }

  #setSparse(data: Uint8Array, key: number, equals: number, end: number, refuse: Refuse): void {
    const value = equals + 1;
    const name = text(data, key + 'GNU.sparse.'.length, equals);
    this.sparse = true;
    switch (name) {
      case 'major':
        this.sparseMajor = decimal(data, value, end, name, refuse);
        break;
      case 'minor':
        this.sparseMinor = decimal(data, value, end, name, refuse);
        break;
      case 'name':
        this.#sparseNamed = false;
        this.#setPath(data, value, end, refuse);
        this.#sparseNamed = end > value;
        break;
      case 'size':
      case 'realsize':
        this.sparseSize = decimal(data, value, end, name, refuse);
        break;
      case 'numblocks':
        this.sparseBlocks = decimal(data, value, end, name, refuse);
        break;
      case 'offset':
      case 'numbytes':
        this.sparseMap ??= [];
        // Offsets have even places, lengths odd ones.
        if (this.sparseMap.length % 2 !== (name === 'offset' ? 0 : 1)) throw refuse('its sparse map is out of order');
        this.sparseMap.push(decimal(data, value, end, name, refuse));
        break;
      case 'map':
        this.sparseMap = readMap(data, value, end, refuse);
        break;
      default:
        throw refuse(`GNU.sparse.${name} is not known`, 'LARDER_ENTRY_UNSUPPORTED');
    }
  }
}

/** Checks the records of a global (`g`) header and takes nothing from them. */
export function checkGlobalHeader(data: Uint8Array, length: number, refuse: Refuse): void {
  readRecords(data, length, refuse, undefined);
}

interface RecordSink {
  record(data: Uint8Array, key: number, equals: number, end: number, refuse: Refuse): void;
}

/** Records are `<length> <key>=<value>\n`, where the decimal length counts the whole record. */
function readRecords(data: Uint8Array, length: number, refuse: Refuse, sink: RecordSink | undefined): void {
  let start = 0;
  while (start < length) {
    let i = start;
    let claimed = 0;
    while (i < length && i < start + 10 && isDigit(u8(data, i))) claimed = claimed * 10 + u8(data, i++) - 0x30;
    const end = start + claimed - 1;
    if (i === start || i >= length || u8(data, i) !== 0x20 || end >= length || end <= i || u8(data, end) !== 0x0a) {
      throw refuse('a pax record has a wrong length');
    }
    const key = i + 1;
    const equals = data.indexOf(0x3d, key);
    if (equals <= key || equals >= end) throw refuse('a pax record has no key and value');
    withoutNul(data, key, equals, 'key', refuse);
    sink?.record(data, key, equals, end, refuse);
    start = end + 1;
  }
}

function readMap(data: Uint8Array, from: number, to: number, refuse: Refuse): number[] {
  const map: number[] = [];
  let start = from;
  while (start < to) {
    let comma = start;
    while (comma < to && u8(data, comma) !== 0x2c) comma++;
    const value = decimal(data, start, comma, 'map', refuse);
    if (value < 0) throw refuse('its sparse map has a number that cannot be read');
    map.push(value);
    start = comma + 1;
  }
  return map;
}

function putXattr(xattrs: Map<string, Xattr>, name: Uint8Array, value: Uint8Array, refuse: Refuse): void {
  if (name.length === 0) throw refuse('an extended attribute has no name');
  if (name.includes(0)) throw refuse(`the name of an extended attribute has a NUL inside: ${displayName(name)}`);
  const key = text(name, 0, name.length);
  xattrs.delete(key);
  xattrs.set(key, { name, value });
}

function withoutNul(data: Uint8Array, from: number, to: number, what: string, refuse: Refuse): void {
  for (let i = from; i < to; i++) if (u8(data, i) === 0) throw refuse(`a pax ${what} has a NUL inside`);
}

function is(data: Uint8Array, from: number, to: number, word: string): boolean {
  return to - from === word.length && startsWith(data, from, to, word);
}

function startsWith(data: Uint8Array, from: number, to: number, word: string): boolean {
  if (to - from < word.length) return false;
  for (let i = 0; i < word.length; i++) if (u8(data, from + i) !== word.charCodeAt(i)) return false;
  return true;
}

function text(data: Uint8Array, from: number, to: number): string {
  return Buffer.from(data.buffer, data.byteOffset + from, to - from).toString('latin1');
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
