/** The members of a tar archive by name, found by reading its headers alone: contents are passed over unread. */
import type { FileHandle } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { isLarderError, throwIfAborted } from '../../errors.js';
import { DEFAULT_LAYER_LIMITS, ENTRY, type EntryType, type TarEntry } from '../../tar/entry.js';
import { TarReader } from '../../tar/reader.js';
import { type ArchiveFile, type ArchiveFiles, invalid, readFully } from './archive-files.js';

/** A thousand images of a hundred layers, in the old form. */
const MAX_MEMBERS = 300_000;
/** All names together: an archive says how much memory it takes to look into it. */
const MAX_NAME_BYTES = 32 << 20;
const WINDOW_BYTES = 64 * 1024;
/** A link may lead to a link, as when an archive was made of an archive; not much further. */
const MAX_HOPS = 8;
const UTF8 = new TextDecoder('utf-8', { fatal: true });

interface Member {
  readonly type: EntryType;
  readonly offset: number;
  readonly size: number;
  readonly sparse: boolean;
  /** As written. */
  readonly link: string;
}

export class TarMembers implements ArchiveFiles {
  readonly name: string;
  readonly #path: string;
  readonly #members: ReadonlyMap<string, Member>;

  /** `name` is for messages, `path` is where the bytes are. */
  constructor(name: string, path: string, members: ReadonlyMap<string, Member>) {
    this.name = name;
    this.#path = path;
    this.#members = members;
  }

  /**
   * Reads the headers. Of members with one name the last counts, as it does when Docker unpacks the archive. A name that
   * leaves the archive is refused; one that is no UTF-8 cannot be asked for. Rejects with LARDER_ARCHIVE_INVALID.
   */
  static async read(
    handle: FileHandle,
    place: { readonly name: string; readonly path: string; readonly size: number },
    signal?: AbortSignal,
  ): Promise<TarMembers> {
    const doing = `read archive ${place.name}`;
    const members = new Map<string, Member>();
    let nameBytes = 0;
    const take = (entry: TarEntry): void => {
      nameBytes += entry.path.length + entry.link.length;
      if (nameBytes > MAX_NAME_BYTES) throw invalid(doing, `its names have more than ${MAX_NAME_BYTES} bytes`);
      const name = textOf(entry.path);
      const clean = name === undefined ? undefined : cleanName(name);
      if (clean === undefined) return;
      if (clean === false) throw invalid(doing, `the member ${JSON.stringify(name)} leaves the archive`);
      members.set(clean, memberOf(entry));
    };
    const reader = new TarReader({ entry: take }, { ...DEFAULT_LAYER_LIMITS, maxEntries: MAX_MEMBERS }, place.name);
    try {
      await readHeaders(handle, place.size, reader, doing, signal);
    } catch (error) {
      if (!isLarderError(error, 'LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED')) throw error;
      throw invalid(doing, error.message, { cause: error });
    }
    return new TarMembers(place.name, place.path, members);
  }

  async find(name: string): Promise<ArchiveFile | undefined> {
    return this.#find(cleanName(name), name, 0);
  }

  #find(clean: string | false | undefined, asked: string, hops: number): ArchiveFile | undefined {
    const doing = `read archive ${this.name}`;
    if (clean === false) throw invalid(doing, `${JSON.stringify(asked)} leads out of the archive`);
    const member = clean === undefined ? undefined : this.#members.get(clean);
    if (member === undefined || clean === undefined) return undefined;
    const { type, link } = member;
    if (type === ENTRY.symlink || type === ENTRY.hardlink) {
      if (hops === MAX_HOPS) throw invalid(doing, `${JSON.stringify(asked)} is a link to a link without an end`);
      if (type === ENTRY.symlink && link.startsWith('/')) {
        throw invalid(doing, `${JSON.stringify(asked)} is a link to ${JSON.stringify(link)}`);
      }
      const target = type === ENTRY.symlink ? `${clean.slice(0, clean.lastIndexOf('/') + 1)}${link}` : link;
      return this.#find(cleanName(target), asked, hops + 1);
    }
    if (type !== ENTRY.file || member.sparse) throw invalid(doing, `${JSON.stringify(asked)} is not a plain file`);
    return { path: this.#path, offset: member.offset, size: member.size };
  }
}

async function readHeaders(
  handle: FileHandle,
  size: number,
  reader: TarReader,
  doing: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const window = Buffer.allocUnsafe(WINDOW_BYTES);
  for (let position = 0; position < size; ) {
    throwIfAborted(signal, doing);
    const got = await readFully(handle, window.subarray(0, Math.min(WINDOW_BYTES, size - position)), position, doing);
    if (got === 0) throw invalid(doing, 'the archive became shorter while it was read');
    reader.write(window.subarray(0, got));
    position += got;
    const skipped = Math.min(reader.skippable, size - position);
    reader.skip(skipped);
    position += skipped;
    await breathe();
  }
  reader.end();
}

function memberOf(entry: TarEntry): Member {
  const { type, offset, stored } = entry;
  return { type, offset, size: stored, sparse: entry.sparse !== undefined, link: textOf(entry.link) ?? '' };
}

/** Without `.` parts and slashes that mean nothing; false when it climbs out, undefined when nothing is left. */
function cleanName(name: string): string | false | undefined {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) return false;
  }
  return parts.length === 0 ? undefined : parts.join('/');
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}
