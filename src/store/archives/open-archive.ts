/** Opens an archive file: as it is, or uncompressed into the store's staging area when it is compressed as a whole. */
import { join } from 'node:path';
import { SNIFF_BYTES, sniffCompression } from '../../tar/compression.js';
import type { WorkerPool } from '../../workers/pool.js';
import { readFully, realPlace, withRegularFile } from './archive-files.js';
import type { InflateArchiveJob } from './archive-tasks.js';
import { TarMembers } from './tar-members.js';

/** A place in the store's staging area that is gone when it is disposed. */
export interface Stage extends AsyncDisposable {
  readonly path: string;
}

export interface OpenedArchive extends AsyncDisposable {
  readonly files: TarMembers;
  /** What the archive is at this instant. */
  readonly identity: string;
}

export interface OpenArchiveParts {
  readonly pool: WorkerPool;
  readonly stage: () => Promise<Stage>;
  /** Of an archive that is compressed as a whole, uncompressed. */
  readonly maxBytes: number;
  /** As a layer's. */
  readonly maxRatio: number;
}

/**
 * `path` may be a symlink: it is what the user named. Rejects with LARDER_IMAGE_NOT_FOUND, LARDER_ARCHIVE_INVALID,
 * LARDER_MEDIA_TYPE_UNSUPPORTED, LARDER_NO_SPACE, LARDER_ABORTED.
 */
export async function openArchive(
  name: string,
  parts: OpenArchiveParts,
  signal: AbortSignal | undefined,
): Promise<OpenedArchive> {
  const doing = `read archive ${name}`;
  const path = await realPlace(name, doing);
  const { identity, files } = await withRegularFile(path, doing, async (handle, { size, identity }) => {
    const first = Buffer.alloc(Math.min(SNIFF_BYTES, size));
    await readFully(handle, first, 0, doing);
    if (sniffCompression(first) !== 'none') return { identity, files: undefined };
    return { identity, files: await TarMembers.read(handle, { name, path, size }, signal) };
  });
  if (files !== undefined) return { files, identity, [Symbol.asyncDispose]: async () => {} };
  const stage = await parts.stage();
  try {
    const outPath = join(stage.path, 'archive.tar');
    const job: InflateArchiveJob = { path, outPath, maxBytes: parts.maxBytes, maxRatio: parts.maxRatio };
    await parts.pool.run('inflateArchive', job, signal === undefined ? {} : { signal });
    const inflated = await withRegularFile(outPath, doing, (handle, { size }) =>
      TarMembers.read(handle, { name, path: outPath, size }, signal),
    );
    return { files: inflated, identity, [Symbol.asyncDispose]: async () => stage[Symbol.asyncDispose]() };
  } catch (error) {
    await stage[Symbol.asyncDispose]();
    throw error;
  }
}
