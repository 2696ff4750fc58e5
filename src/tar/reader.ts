/**
 * ▸ TarReader: an archive's bytes in, its entries out. Synchronous and incremental: chunks may be cut anywhere, memory
 * is bounded by the limits, and nothing is allocated per entry but extended attributes and sparse maps. It owns nothing
 * on disk and interprets no name (the layer index does); it is what makes two readers of one archive agree, so whatever
 * known readers disagree about is refused. The layer pipeline and `check` call it.
 *
 * Read: V7, ustar, star and old GNU headers, pax. The one precedence:
 * - Name, link target: `GNU.sparse.name`, else pax `path`, `linkpath`, else GNU `L`, `K`, else the header. Both pax
 *   and GNU for one field is refused. A name ends at its first NUL; a pax value with a NUL is refused.
 * - Size, uid, gid, mtime, device numbers: pax, else the header. Extension headers themselves have the header's size.
 * - A local extension is for the next entry only. Two of one kind before one entry, one before a global header, and
 *   one before the end of the archive are refused. Equal keys in one header: the last counts.
 * - Global headers must be well formed and are otherwise ignored, as in every engine that reads layers through Go.
 * - Only files have content. A size on a link, directory or device is ignored as Go does; after a hardlink whose size
 *   is not zero, a block that is no header is the content that POSIX.1-2001 allows there, and is skipped.
 * - `0`, NUL and `7` are files; NUL with a name that ends in a slash is a directory. Any other file with such a name is
 *   refused, and such a directory with content: to GNU tar both are directories, and to Go the first is a file and
 *   what follows the second is no content. Volume labels (`V`) say nothing and are skipped. `S` is a sparse file under
 *   GNU's magic only. Every other typeflag is LARDER_ENTRY_UNSUPPORTED.
 * - The archive ends at its last byte or at two zero blocks; one zero block must be the last. What follows is ignored.
 *
 * Refusals: LARDER_LAYER_INVALID, LARDER_LAYER_LIMIT, LARDER_ENTRY_UNSUPPORTED, with `entry` and `offset` (of the
 * header, in bytes of the tar) in the details. After a refusal, or a throw of the sink, the reader is of no more use.
 */
import { alignUp, displayName, u8 } from '../bytes.js';
import { isLarderError, LarderError } from '../errors.js';
import { ENTRY, type EntryType, type LayerLimits, type TarSink } from './entry.js';
import { EntryFields, endsInSlash } from './entry-fields.js';
import { BLOCK, byteSum, checksumMatches, FIELD, formatOf, numeric, type Refuse } from './header.js';
import { checkGlobalHeader } from './pax.js';
import { readExtensionMap, readHeaderMap, SparseMapText, sparseRuns } from './sparse.js';

/** What the next bytes are. */
const STATE = {
  header: 0,
  content: 1,
  padding: 2,
  skip: 3,
  extension: 4,
  sparseBlock: 5,
  sparseText: 6,
  end: 7,
} as const;
type State = (typeof STATE)[keyof typeof STATE];

const TYPE = {
  oldFile: 0,
  file: 0x30,
  contiguous: 0x37,
  sparse: 0x53,
  label: 0x56,
  pax: 0x78,
  global: 0x67,
  longName: 0x4c,
  longLink: 0x4b,
} as const;

/** Typeflags `1` to `6`, whose entries have no content. */
const BODILESS: { readonly [type: number]: EntryType } = {
  49: ENTRY.hardlink,
  50: ENTRY.symlink,
  51: ENTRY.character,
  52: ENTRY.block,
  53: ENTRY.directory,
  54: ENTRY.fifo,
};

const FIRST_EXTENSION_BYTES = 4096;
/** How much of a name a message shows. */
const SHOWN_BYTES = 256;

export class TarReader {
  readonly #sink: TarSink;
  readonly #limits: LayerLimits;
  readonly #name: string;
  readonly #refuse: Refuse = (what, code = 'LARDER_LAYER_INVALID') => this.#error(what, code);
  readonly #fields = new EntryFields(this.#refuse);

  #state: State = STATE.header;
  #position = 0;
  /** Bytes left of the content, the padding, the extension, or what is skipped. */
  #left = 0;
  /** Where the current header stands. */
  #headerAt = 0;
  #zeroBlocks = 0;
  #entries = 0;
  /** Bytes that holes pretend, over all entries. */
  #holes = 0;
  /** Content that may follow a hardlink; see the precedence above. */
  #linkContent = 0;

  /** A block that the chunks cut. */
  readonly #block = new Uint8Array(BLOCK);
  readonly #blockView = new DataView(this.#block.buffer);
  #blockFill = 0;

  #extension = new Uint8Array(FIRST_EXTENSION_BYTES);
  #extensionType = 0;
  #extensionFill = 0;

  #sparseMap: number[] = [];
  #sparseText: SparseMapText;

  /** `name` says in messages which archive this is. */
  constructor(sink: TarSink, limits: LayerLimits, name = 'tar archive') {
    this.#sink = sink;
    this.#limits = limits;
    this.#name = name;
    this.#sparseText = new SparseMapText(limits.maxExtensionBytes, this.#refuse);
  }

  /** Bytes taken so far. */
  get position(): number {
    return this.#position;
  }

  write(chunk: Uint8Array): void {
    const start = this.#position;
    const end = Math.min(chunk.length, this.#limits.maxTarBytes - start);
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let i = 0;
    while (i < end) {
      i = this.#step(chunk, view, i, end);
      this.#position = start + i;
    }
    if (end < chunk.length) throw this.#tooLarge();
  }

  /** How many of the next bytes {@link skip} may pass over: what is left of a file's content. */
  get skippable(): number {
    return this.#state === STATE.content ? this.#left : 0;
  }

  /** Takes `bytes` bytes of content, at most {@link skippable}, that the caller passed over unread. */
  skip(bytes: number): void {
    if (bytes > this.skippable) throw new LarderError('LARDER_INTERNAL', `reading ${this.#name}: nothing to skip`);
    this.#position += bytes;
    this.#takeContent(0, bytes);
  }

  /** The archive has no more bytes. */
  end(): void {
    if (this.#state === STATE.end) return;
    // Builders that follow Go's archive/tar may leave the padding of the last file out, as that reader takes it.
    if (this.#state === STATE.padding) this.#emit();
    if (this.#state !== STATE.header || this.#blockFill > 0) {
      throw this.#refuse(`the archive is cut off after ${this.#position} bytes`);
    }
    this.#checkNothingPending();
  }

  /** Takes some of `chunk[i, end)`, where `#position` stands for `i`. Answers where it stopped. */
  #step(chunk: Uint8Array, view: DataView, i: number, end: number): number {
    switch (this.#state) {
      case STATE.header:
      case STATE.sparseBlock:
        return this.#takeBlock(chunk, view, i, end);
      case STATE.content:
        return this.#takeContent(i, end);
      case STATE.padding:
        return this.#takePadding(chunk, view, i, end);
      case STATE.skip:
        return this.#takeSkipped(i, end);
      case STATE.extension:
        return this.#takeExtension(chunk, i, end);
      case STATE.sparseText:
        return this.#takeSparseText(chunk, i, end);
      case STATE.end:
        return end;
    }
  }

  #takeBlock(chunk: Uint8Array, view: DataView, i: number, end: number): number {
    const fill = this.#blockFill;
    if (fill === 0 && end - i >= BLOCK) {
      this.#readBlock(chunk, view, i, this.#position);
      return i + BLOCK;
    }
    const n = Math.min(BLOCK - fill, end - i);
    this.#block.set(chunk.subarray(i, i + n), fill);
    this.#blockFill = (fill + n) % BLOCK;
    if (fill + n === BLOCK) this.#readBlock(this.#block, this.#blockView, 0, this.#position - fill);
    return i + n;
  }

  #takeContent(i: number, end: number): number {
    const n = Math.min(this.#left, end - i);
    this.#left -= n;
    if (this.#left === 0) this.#contentEnds();
    return i + n;
  }

  #takePadding(chunk: Uint8Array, view: DataView, i: number, end: number): number {
    const stop = Math.min(end, i + this.#left);
    let bits = 0;
    let k = i;
    for (; k + 4 <= stop; k += 4) bits |= view.getInt32(k, true);
    for (; k < stop; k++) bits |= u8(chunk, k);
    if (bits !== 0) this.#fields.entry.zeroPadded = false;
    this.#left -= stop - i;
    if (this.#left === 0) this.#emit();
    return stop;
  }

  #takeSkipped(i: number, end: number): number {
    const n = Math.min(this.#left, end - i);
    this.#left -= n;
    if (this.#left === 0) this.#state = STATE.header;
    return i + n;
  }

  #takeExtension(chunk: Uint8Array, i: number, end: number): number {
    const n = Math.min(this.#left, end - i);
    this.#extension.set(chunk.subarray(i, i + n), this.#extensionFill);
    this.#extensionFill += n;
    this.#left -= n;
    if (this.#left === 0) this.#readExtension();
    return i + n;
  }

  #takeSparseText(chunk: Uint8Array, i: number, end: number): number {
    const text = this.#sparseText;
    for (let k = i; k < end; k++) {
      if (this.#left === 0) throw this.#refuse('its sparse map is longer than its content');
      this.#left -= 1;
      text.push(u8(chunk, k));
      if (!text.complete) continue;
      this.#startSparse(text.map, this.#headerAt + BLOCK + text.bytes, this.#left);
      return k + 1;
    }
    return end;
  }

  #readBlock(bytes: Uint8Array, view: DataView, offset: number, position: number): void {
    if (this.#state === STATE.header) this.#readHeader(bytes, view, offset, position);
    else this.#readSparseBlock(bytes, offset, position);
  }

  #readHeader(header: Uint8Array, view: DataView, offset: number, position: number): void {
    this.#headerAt = position;
    this.#fields.clear();
    const sum = byteSum(view, offset);
    if (sum === 0) this.#readZeroBlock();
    else if (this.#zeroBlocks > 0) throw this.#refuse('a header follows a block of zeros');
    else if (checksumMatches(header, offset, sum)) {
      this.#linkContent = 0;
      this.#readTyped(u8(header, offset + FIELD.type), header, offset);
    } else this.#readNoHeader();
  }

  #readTyped(type: number, header: Uint8Array, offset: number): void {
    const bodiless = BODILESS[type];
    if (bodiless !== undefined) this.#readBodiless(bodiless, header, offset);
    else if (type === TYPE.file || type === TYPE.contiguous || type === TYPE.oldFile) {
      this.#startFile(type, header, offset);
    } else if (type === TYPE.pax || type === TYPE.global || type === TYPE.longName || type === TYPE.longLink) {
      this.#startExtension(type, header, offset);
    } else if (type === TYPE.sparse) this.#startOldSparse(header, offset);
    else if (type === TYPE.label) {
      this.#checkNothingPending();
      this.#skip(alignUp(this.#headerSize(header, offset), BLOCK));
    } else {
      this.#fields.begin(ENTRY.file, header, offset);
      throw this.#refuse(`its typeflag ${typeflagName(type)} is not supported`, 'LARDER_ENTRY_UNSUPPORTED');
    }
  }

  #startFile(type: number, header: Uint8Array, offset: number): void {
    const { entry, extensions } = this.#fields;
    this.#fields.begin(ENTRY.file, header, offset);
    const size = this.#contentSize(header, offset);
    const start = this.#headerAt + BLOCK;
    if (endsInSlash(entry.path)) this.#startOldDirectory(type, size);
    else if (extensions.sparse) this.#startPaxSparse(start, size);
    else {
      entry.size = size;
      this.#startContent(start, size);
    }
  }

  #startOldDirectory(type: number, size: number): void {
    const { entry, extensions } = this.#fields;
    if (type !== TYPE.oldFile || extensions.sparse) throw this.#refuse('it is a file, but its name ends in a slash');
    if (size > 0) throw this.#refuse('its name ends in a slash, but it has content');
    entry.type = ENTRY.directory;
    this.#emit();
  }

  /** Links, directories, devices and fifos. */
  #readBodiless(type: EntryType, header: Uint8Array, offset: number): void {
    this.#fields.begin(type, header, offset);
    const fromHeader = this.#headerSize(header, offset);
    const fromPax = this.#fields.extensions.size;
    this.#emit();
    if (type === ENTRY.hardlink) this.#linkContent = fromPax >= 0 ? fromPax : fromHeader;
  }

  #startPaxSparse(start: number, stored: number): void {
    const { entry, extensions } = this.#fields;
    entry.size = extensions.sparseSize;
    if (entry.size < 0) throw this.#refuse('it is sparse, but has no size');
    const { sparseMajor: major, sparseMinor: minor, sparseMap: map = [], sparseBlocks: blocks } = extensions;
    if (major === 1 && minor === 0) {
      this.#sparseText = new SparseMapText(this.#limits.maxExtensionBytes, this.#refuse);
      this.#left = stored;
      this.#state = STATE.sparseText;
      return;
    }
    if (major > 0 || minor > 1) throw this.#refuse('its sparse format is not known', 'LARDER_ENTRY_UNSUPPORTED');
    if (blocks < 0 && map.length === 0) throw this.#refuse('it is sparse, but has no map');
    if (blocks >= 0 && blocks * 2 !== map.length) throw this.#refuse('its sparse map has a wrong number of runs');
    this.#startSparse(map, start, stored);
  }

  #startOldSparse(header: Uint8Array, offset: number): void {
    const { entry, extensions } = this.#fields;
    this.#fields.begin(ENTRY.file, header, offset);
    if (formatOf(header, offset) !== 'gnu') {
      throw this.#refuse('its typeflag S is supported in GNU archives only', 'LARDER_ENTRY_UNSUPPORTED');
    }
    if (extensions.sparse) throw this.#refuse('its sparse map is given twice');
    if (endsInSlash(entry.path)) throw this.#refuse('it is a file, but its name ends in a slash');
    entry.size = numeric(header, offset + FIELD.gnuRealSize, 12);
    if (!(entry.size >= 0)) throw this.#refuse('its size is not a number');
    entry.stored = this.#contentSize(header, offset);
    this.#sparseMap = [];
    if (readHeaderMap(header, offset, this.#sparseMap, this.#refuse)) this.#state = STATE.sparseBlock;
    else this.#startSparse(this.#sparseMap, this.#headerAt + BLOCK, entry.stored);
  }

  #readSparseBlock(block: Uint8Array, offset: number, position: number): void {
    const end = position + BLOCK;
    if (end - this.#headerAt > this.#limits.maxExtensionBytes) {
      throw this.#refuse('its sparse map is too long', 'LARDER_LAYER_LIMIT');
    }
    const more = readExtensionMap(block, offset, this.#sparseMap, this.#refuse);
    if (!more) this.#startSparse(this.#sparseMap, end, this.#fields.entry.stored);
  }

  #startSparse(map: readonly number[], start: number, stored: number): void {
    const { entry } = this.#fields;
    entry.sparse = sparseRuns(map, entry.size, stored, this.#refuse);
    this.#holes += entry.size - stored;
    if (start + stored + this.#holes > this.#limits.maxTarBytes) throw this.#tooLarge();
    this.#startContent(start, stored);
  }

  #startContent(start: number, stored: number): void {
    const { entry } = this.#fields;
    entry.offset = start;
    entry.stored = stored;
    this.#left = stored;
    this.#state = STATE.content;
    if (stored === 0) this.#contentEnds();
  }

  #contentEnds(): void {
    this.#left = paddingOf(this.#fields.entry.stored);
    if (this.#left === 0) this.#emit();
    else this.#state = STATE.padding;
  }

  #emit(): void {
    this.#state = STATE.header;
    this.#entries += 1;
    if (this.#entries > this.#limits.maxEntries) {
      throw this.#beyond('max_layer_entries', `there are more than ${this.#limits.maxEntries} entries`);
    }
    try {
      this.#sink.entry(this.#fields.entry);
    } catch (error) {
      throw isLarderError(error, 'LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED')
        ? this.#error(error.message, error.code)
        : error;
    }
    this.#fields.extensions.reset();
  }

  #startExtension(type: number, header: Uint8Array, offset: number): void {
    const size = this.#headerSize(header, offset);
    const { maxExtensionBytes } = this.#limits;
    if (size > maxExtensionBytes) {
      throw this.#refuse(`an extension header has more than ${maxExtensionBytes} bytes`, 'LARDER_LAYER_LIMIT');
    }
    if (size > this.#extension.length) this.#extension = new Uint8Array(Math.min(size * 2, maxExtensionBytes));
    this.#extensionType = type;
    this.#extensionFill = 0;
    this.#left = size;
    this.#state = STATE.extension;
    if (size === 0) this.#readExtension();
  }

  #readExtension(): void {
    const { extensions } = this.#fields;
    const data = this.#extension;
    const length = this.#extensionFill;
    if (this.#extensionType === TYPE.pax) extensions.setPax(data, length, this.#refuse);
    else if (this.#extensionType === TYPE.longName) extensions.setGnu('path', data, length, this.#refuse);
    else if (this.#extensionType === TYPE.longLink) extensions.setGnu('link', data, length, this.#refuse);
    else {
      this.#checkNothingPending();
      checkGlobalHeader(data, length, this.#refuse);
    }
    this.#skip(paddingOf(length));
  }

  #skip(bytes: number): void {
    this.#left = bytes;
    this.#state = bytes === 0 ? STATE.header : STATE.skip;
  }

  #readZeroBlock(): void {
    this.#checkNothingPending();
    this.#zeroBlocks += 1;
    if (this.#zeroBlocks === 2) this.#state = STATE.end;
  }

  #readNoHeader(): void {
    if (this.#linkContent === 0) {
      throw this.#refuse(this.#headerAt === 0 ? 'it is not a tar archive' : 'a header has a wrong checksum');
    }
    if (this.#headerAt + this.#linkContent > this.#limits.maxTarBytes) throw this.#tooLarge();
    this.#skip(alignUp(this.#linkContent, BLOCK) - BLOCK);
    this.#linkContent = 0;
  }

  #checkNothingPending(): void {
    if (this.#fields.extensions.pending) throw this.#refuse('an extension header belongs to no entry');
  }

  /** The content's size: what pax says, else the header. */
  #contentSize(header: Uint8Array, offset: number): number {
    const fromHeader = this.#headerSize(header, offset);
    const fromPax = this.#fields.extensions.size;
    const size = fromPax >= 0 ? fromPax : fromHeader;
    if (this.#headerAt + BLOCK + size > this.#limits.maxTarBytes) throw this.#tooLarge();
    return size;
  }

  #headerSize(header: Uint8Array, offset: number): number {
    const size = numeric(header, offset + FIELD.size, 12);
    if (!(size >= 0)) throw this.#refuse(size < 0 ? 'its size is negative' : 'its size is not a number');
    return size;
  }

  #tooLarge(): LarderError {
    return this.#beyond('max_layer_bytes', `it has more than ${this.#limits.maxTarBytes} bytes`);
  }

  #beyond(setting: string, what: string): LarderError {
    const { code, message, details } = this.#error(what, 'LARDER_LAYER_LIMIT');
    return new LarderError(code, message, { details, hint: `raise ${setting} if the image is to be trusted` });
  }

  #error(what: string, code: Parameters<Refuse>[1] & string): LarderError {
    const path = this.#fields.entry.path;
    const entry = path.length === 0 ? undefined : displayName(path.subarray(0, SHOWN_BYTES));
    const where = entry === undefined ? `at byte ${this.#headerAt}` : `entry ${entry} at byte ${this.#headerAt}`;
    return new LarderError(code, `reading layer: ${this.#name}, ${where}: ${what}`, {
      details: { ...(entry === undefined ? {} : { entry }), offset: this.#headerAt },
    });
  }
}

function paddingOf(length: number): number {
  return (BLOCK - (length % BLOCK)) % BLOCK;
}

function typeflagName(type: number): string {
  return type > 0x20 && type < 0x7f ? `'${String.fromCharCode(type)}'` : String(type);
}
