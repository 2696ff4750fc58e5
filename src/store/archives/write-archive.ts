/**
 * Writes an archive of a stored image: as a file, whose layers are copied inside the kernel and which appears under its
 * name only when it is whole and durable, or as a stream. Layers are not proven once more here: whoever reads the
 * archive compares them with the DiffIDs in the config, and `larder check --deep` does before.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, lstat, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { errnoOf, isLarderError, LarderError, systemError, throwIfAborted } from '../../errors.js';
import { closing, fsyncDirectory, unlinkIfThere } from '../../linux/durable.js';
import type { ExportParts, Member } from './export-image.js';
import { directoryHeader, fileHeader, paddingOf, TAR_BLOCK, TAR_END } from './tar-header.js';

/** Copied at once, before others get a turn. */
const STEP = 16 << 20;
const PIECE = 1 << 20;

export interface WriteOptions {
  readonly signal?: AbortSignal | undefined;
  /** Hears how many bytes there are so far. */
  readonly onBytes?: (written: number) => void;
}

/** Bytes of the whole archive. */
export function archiveSize(members: readonly Member[]): number {
  const sizes = members.map(sizeOf);
  return sizes.reduce((sum, size) => sum + TAR_BLOCK + size + paddingOf(size), TAR_END.length);
}

/**
 * Durable when it resolves; a file of this name is replaced, and stays as it was when this fails. Rejects with
 * LARDER_NO_SPACE, LARDER_PERMISSION, LARDER_LAYER_CORRUPT, LARDER_ABORTED, ….
 */
export async function writeArchive(
  path: string,
  members: readonly Member[],
  parts: ExportParts,
  options: WriteOptions = {},
): Promise<void> {
  const doing = `export to ${path}`;
  await refuseSpecialFile(path, doing);
  // A name of fixed length: the target's own may be as long as names can be.
  const temporary = join(dirname(path), `.larder-export-${randomUUID()}.tmp`);
  try {
    // 1. The bytes, under a name that nobody reads.
    const file = await open(temporary, 'wx', 0o666);
    await closing(file, async () => {
      await writeMembers(file, members, parts, options);
      await file.sync();
    });
    // 2. The point of no return.
    await rename(temporary, path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      throw new LarderError('LARDER_PATH_NOT_FOUND', `${doing}: there is no directory ${dirname(path)}`, {
        cause: error,
      });
    }
    await unlinkIfThere(temporary);
    throw systemError(doing, error);
  }
  // 3. The name survives a power cut.
  await fsyncDirectory(dirname(path));
}

/** The same bytes, piece by piece. */
export async function* streamArchive(
  members: readonly Member[],
  parts: ExportParts,
  { signal }: WriteOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const member of members) {
    throwIfAborted(signal, 'export');
    yield headerOf(member);
    if (member.kind === 'bytes') yield member.bytes;
    else if (member.kind !== 'directory') {
      const file = await openSource(member, parts);
      // Closes the file, whatever happens.
      yield* file.createReadStream({ highWaterMark: PIECE, ...(signal === undefined ? {} : { signal }) });
    }
    yield Buffer.alloc(paddingOf(sizeOf(member)));
  }
  yield TAR_END;
}

async function writeMembers(
  file: FileHandle,
  members: readonly Member[],
  parts: ExportParts,
  { signal, onBytes }: WriteOptions,
): Promise<void> {
  let position = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    for (let done = 0; done < bytes.length; ) {
      done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
    position += bytes.length;
  };
  const copy = await chooseCopy();
  for (const member of members) {
    await put(headerOf(member));
    if (member.kind === 'bytes') await put(member.bytes);
    else if (member.kind !== 'directory') {
      const source = await openSource(member, parts);
      await closing(source, async () => {
        for (let offset = 0; offset < member.size; ) {
          throwIfAborted(signal, 'export');
          const length = Math.min(STEP, member.size - offset);
          if ((await copy(source, offset, file, position + offset, length)) < length) throw cutShort(member.name);
          offset += length;
          onBytes?.(position + offset);
          await nextTurn();
        }
      });
      position += member.size;
    }
    await put(Buffer.alloc(paddingOf(sizeOf(member))));
  }
  await put(TAR_END);
  onBytes?.(position);
}

type Copy = (from: FileHandle, fromOffset: number, to: FileHandle, toOffset: number, length: number) => Promise<number>;

/** Inside the kernel where it can be called; without koffi through memory. */
async function chooseCopy(): Promise<Copy> {
  const [{ copyRange }, { kernel }] = await Promise.all([
    import('../../linux/copy-range.js'),
    import('../../linux/syscalls.js'),
  ]);
  try {
    kernel();
    return async (from, fromOffset, to, toOffset, length) => copyRange(from.fd, fromOffset, to.fd, toOffset, length);
  } catch (error) {
    if (!isLarderError(error, 'LARDER_BACKEND_UNAVAILABLE')) throw error;
    return copyThroughMemory;
  }
}

const copyThroughMemory: Copy = async (from, fromOffset, to, toOffset, length) => {
  const buffer = Buffer.allocUnsafe(Math.min(PIECE, length));
  for (let copied = 0; copied < length; ) {
    const { bytesRead } = await from.read(buffer, 0, Math.min(buffer.length, length - copied), fromOffset + copied);
    if (bytesRead === 0) return copied;
    for (let done = 0; done < bytesRead; ) {
      done += (await to.write(buffer, done, bytesRead - done, toOffset + copied + done)).bytesWritten;
    }
    copied += bytesRead;
  }
  return length;
};

function headerOf(member: Member): Buffer {
  return member.kind === 'directory' ? directoryHeader(member.name) : fileHeader(member.name, sizeOf(member));
}

function sizeOf(member: Member): number {
  if (member.kind === 'directory') return 0;
  return member.kind === 'bytes' ? member.bytes.length : member.size;
}

async function openSource(
  member: Extract<Member, { kind: 'layer' | 'blob' }>,
  { layers, content }: ExportParts,
): Promise<FileHandle> {
  if (member.kind === 'layer') return layers.openTar(member.diffId);
  const path = content.pathOf(member.digest);
  const file = await open(path, 'r').catch((error: unknown) => {
    throw systemError(`export: ${path}`, error);
  });
  if ((await file.stat()).size === member.size) return file;
  await file.close();
  throw new LarderError('LARDER_SIZE_MISMATCH', `export: ${path}: it is not as long as the manifest says`);
}

/** Renaming would put a file in the place of a device or a pipe. */
async function refuseSpecialFile(path: string, doing: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(doing, error);
  });
  if (found === undefined || found.isFile() || found.isSymbolicLink()) return;
  throw new LarderError('LARDER_REQUEST_INVALID', `${doing}: ${basename(path)} is there, and is no file`, {
    hint: 'a FILE of - writes to standard output',
  });
}

function cutShort(name: string): LarderError {
  return new LarderError('LARDER_LAYER_CORRUPT', `export: ${name}: the layer ends before its size`, {
    hint: 'run `larder repair`',
  });
}
