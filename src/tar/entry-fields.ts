/** Fills the one reused {@link TarEntry} from a header and what extensions said before it. */
import { u8 } from '../bytes.js';
import { ByteString } from './byte-string.js';
import { ENTRY, type EntryType, makeEntry } from './entry.js';
import { FIELD, formatOf, type HeaderFormat, NAME_BYTES, numeric, prefixBytes, type Refuse } from './header.js';
import { Extensions } from './pax.js';
import { clampTime } from './pax-values.js';

const EMPTY = new Uint8Array(0);
/** 2^32 - 1 means "leave it alone" to chown(2). */
const MAX_ID = 2 ** 32 - 2;
const MAX_DEVICE_NUMBER = 2 ** 32 - 1;

export class EntryFields {
  readonly extensions = new Extensions();
  readonly entry = makeEntry();
  readonly #path = new ByteString();
  readonly #link = new ByteString();
  readonly #refuse: Refuse;

  constructor(refuse: Refuse) {
    this.#refuse = refuse;
  }

  /** Everything but size, offset and sparse runs, which are set to those of an entry without content. */
  begin(type: EntryType, header: Uint8Array, offset: number): void {
    const { entry, extensions } = this;
    const format = formatOf(header, offset);
    entry.path = this.#pathOf(header, offset, format);
    entry.type = type;
    entry.link = type === ENTRY.symlink || type === ENTRY.hardlink ? this.#linkOf(header, offset) : EMPTY;
    entry.mode = this.#modeOf(header, offset);
    entry.uid = this.#id(extensions.uid, header, offset + FIELD.uid, 'uid');
    entry.gid = this.#id(extensions.gid, header, offset + FIELD.gid, 'gid');
    entry.size = 0;
    entry.offset = 0;
    entry.stored = 0;
    entry.zeroPadded = true;
    entry.xattrs = extensions.xattrs;
    entry.sparse = undefined;
    this.#setTime(header, offset);
    this.#setDevice(type, header, offset, format);
    if (extensions.sparse && type !== ENTRY.file) throw this.#refuse('it is sparse, but no file');
  }

  /** Nothing is known of the next entry yet. */
  clear(): void {
    this.entry.path = EMPTY;
  }

  /** Of a number that was not read whole the low bits are not known either. */
  #modeOf(header: Uint8Array, offset: number): number {
    const mode = this.#number(header, offset + FIELD.mode, 8, 'mode');
    if (!Number.isSafeInteger(mode)) throw this.#refuse('its mode is out of range');
    return mode & 0o7777;
  }

  #pathOf(header: Uint8Array, offset: number, format: HeaderFormat): Uint8Array {
    if (this.extensions.pathFrom !== 'header') return this.extensions.path.view;
    const prefix = prefixBytes(header, offset, format);
    if (prefix === 0) this.#path.setField(header, offset + FIELD.name, NAME_BYTES);
    else this.#path.setJoined(header, offset + FIELD.prefix, prefix, offset + FIELD.name, NAME_BYTES);
    return this.#path.view;
  }

  #linkOf(header: Uint8Array, offset: number): Uint8Array {
    if (this.extensions.linkFrom !== 'header') return this.extensions.link.view;
    this.#link.setField(header, offset + FIELD.link, NAME_BYTES);
    return this.#link.view;
  }

  #id(fromPax: number, header: Uint8Array, offset: number, what: string): number {
    const id = fromPax >= 0 ? fromPax : this.#number(header, offset, 8, what);
    if (!(id >= 0 && id <= MAX_ID)) throw this.#refuse(`its ${what} is not between 0 and ${MAX_ID}`);
    return id;
  }

  #setTime(header: Uint8Array, offset: number): void {
    const { time } = this.extensions;
    const seconds = this.#number(header, offset + FIELD.mtime, 12, 'mtime');
    this.entry.mtime = time.present ? time.seconds : clampTime(seconds);
    this.entry.mtimeNs = time.present ? time.ns : 0;
  }

  #setDevice(type: EntryType, header: Uint8Array, offset: number, format: HeaderFormat): void {
    const isDevice = type === ENTRY.character || type === ENTRY.block;
    const { devMajor, devMinor } = this.extensions;
    this.entry.devMajor = isDevice ? this.#deviceNumber(devMajor, header, offset + FIELD.devMajor, format) : 0;
    this.entry.devMinor = isDevice ? this.#deviceNumber(devMinor, header, offset + FIELD.devMinor, format) : 0;
  }

  #deviceNumber(fromPax: number, header: Uint8Array, offset: number, format: HeaderFormat): number {
    const fromHeader = format === 'v7' ? 0 : this.#number(header, offset, 8, 'device number');
    const value = fromPax >= 0 ? fromPax : fromHeader;
    if (!(value >= 0 && value <= MAX_DEVICE_NUMBER)) throw this.#refuse('its device number is out of range');
    return value;
  }

  #number(header: Uint8Array, offset: number, length: number, what: string): number {
    const value = numeric(header, offset, length);
    if (Number.isNaN(value)) throw this.#refuse(`its ${what} is not a number`);
    return value;
  }
}

/** Whether a name ends in a slash, which made it a directory before there was a typeflag for it. */
export function endsInSlash(path: Uint8Array): boolean {
  return path.length > 0 && u8(path, path.length - 1) === 0x2f;
}
