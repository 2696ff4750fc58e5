/** A disk in memory with ext4 on it, for what does not ask what a power cut leaves: syncing costs next to nothing. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

const MEMORY = '/dev/shm';
const BYTES = 4 * 1024 ** 3;

export class MemoryDisk {
  readonly path: string;
  readonly #directory: string;

  constructor(path: string, directory: string) {
    this.path = path;
    this.#directory = directory;
  }

  /** Takes the memory that is written to. */
  static mount(path: string): MemoryDisk {
    const directory = mkdtempSync(join(MEMORY, 'larder-nemesis-'));
    const disk = new MemoryDisk(path, directory);
    const file = join(directory, 'disk');
    closeSync(openSync(file, 'w'));
    truncateSync(file, BYTES);
    mkdirSync(path);
    try {
      run('mkfs.ext4', '-q', '-F', '-O', '^has_journal', file);
      run('mount', '-o', 'loop,nobarrier,discard', file, path);
    } catch (error) {
      disk.remove();
      throw error;
    }
    return disk;
  }

  remove(): void {
    spawnSync('umount', ['-R', '-l', this.path]);
    rmSync(this.#directory, { recursive: true });
  }
}

function run(program: string, ...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
}
