import { createRequire } from 'node:module';

type Done = (failure: unknown, result: number) => void;
type SyncFileRange = (fd: number, offset: number, bytes: number, flags: number, done: Done) => void;

/** linux/fs.h */
const SYNC_FILE_RANGE_WRITE = 2;

let loaded: SyncFileRange | 'missing' | undefined;

/**
 * Starts write-back of a part of a file, sync_file_range(2): on libuv's pool, since it takes a millisecond and more
 * where the disk has much to do. Only a hint: it makes nothing durable, and a file system, a C library or a machine
 * without koffi on which it does nothing is no failure. The file stays open until it has resolved; it never rejects.
 */
export async function startWriteBack(fd: number, offset: number, bytes: number): Promise<void> {
  loaded ??= load() ?? 'missing';
  const call = loaded;
  if (call === 'missing') return;
  await new Promise<void>((resolve) => {
    try {
      call(fd, offset, bytes, SYNC_FILE_RANGE_WRITE, () => resolve());
    } catch {
      // So many calls are under way that koffi takes no more: this hint can be missed.
      resolve();
    }
  });
}

function load(): SyncFileRange | undefined {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    return koffi.load(null).func('int sync_file_range(int, int64_t, int64_t, unsigned int)').async as SyncFileRange;
  } catch {
    // See above.
    return undefined;
  }
}
