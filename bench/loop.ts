/** A file system of its own for a run: ext4 with its journal in a file, mounted over the work directory. Linux, root. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';

/** Answers what takes it away again; so does the end of the process. `size` as truncate(1) has it: `30G`. */
export function mountLoopExt4(directory: string, size: string): () => void {
  const file = `${directory}.ext4`;
  rmSync(file, { force: true });
  mkdirSync(directory, { recursive: true });
  execFileSync('fallocate', ['-l', size, file]);
  // All of its tables at once: nothing is left for the kernel to write during the measurements.
  execFileSync('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0,nodiscard', file]);
  // Direct: what is written is not in memory twice.
  const loop = execFileSync('losetup', ['--find', '--show', '--direct-io=on', file], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount', [loop, directory]);
  } finally {
    // While it is mounted the kernel keeps it, and no longer.
    execFileSync('losetup', ['--detach', loop]);
  }
  let there = true;
  const away = () => {
    if (!there) return;
    there = false;
    execFileSync('umount', ['-l', directory]);
    rmSync(file, { force: true });
  };
  process.once('exit', away);
  return away;
}
