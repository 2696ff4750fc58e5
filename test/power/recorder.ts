/** A file system on a disk that writes everything down, and lives of larder on that. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Layout } from '../../src/layout.js';
import { unmount } from '../../src/linux/mount.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { parseDiffId } from '../../src/spec/digest.js';
import { Disk } from './attached-disk.js';
import type { Life } from './planner.js';
import type { WorkloadOptions } from './workload.js';
import type { World } from './world.js';

export const FILE_SYSTEMS = {
  // Zeroed at once, which mkfs otherwise leaves to a thread of the kernel: its writes would be crash states of nobody.
  ext4: ['mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
  xfs: ['mkfs.xfs', '-q'],
  btrfs: ['mkfs.btrfs', '-q'],
} as const;
export type FileSystem = keyof typeof FILE_SYSTEMS;

/** Large enough for the defaults of real disks: below 512 MiB mkfs.ext4 takes blocks of 1 KiB. */
const DISK_BYTES = 640 << 20;

export interface Recording {
  /** The disk before it was told anything. */
  readonly image: string;
  readonly log: string;
}

export interface RecordOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly world: World;
  readonly lives: readonly Life[];
  /** The compiled code whose processes use the store; default: this one's. */
  readonly code?: string;
}

export function makeImage(fileSystem: FileSystem, path: string): void {
  closeSync(openSync(path, 'wx'));
  truncateSync(path, DISK_BYTES);
  const [program, ...args] = FILE_SYSTEMS[fileSystem];
  execFileSync(program, [...args, path]);
}

export async function record({ fileSystem, directory, world, lives, code }: RecordOptions): Promise<Recording> {
  const [image, changed, log] = ['image', 'changed', 'log'].map((name) => join(directory, name));
  if (image === undefined || changed === undefined || log === undefined) throw new Error('no paths');
  makeImage(fileSystem, image);
  execFileSync('cp', ['--sparse=always', image, changed]);
  await using disk = await Disk.attach({ mode: 'record', directory: join(directory, 'disk'), image: changed, log });
  const place = join(directory, 'mount');
  mkdirSync(place, { recursive: true });
  disk.mount(fileSystem, place);
  try {
    for (const life of lives) {
      for (const version of life.publish) world.publish(version);
      const root = join(place, 'store');
      if (life.damaged) damage(root, disk.companion);
      if (life.broken !== undefined) breakLayer(root, life.broken, disk.companion);
      await live({ root, marks: disk.companion, acis: world.acis, life }, code);
    }
  } finally {
    for (const { mountPoint } of [...mountsUnder(place)].reverse()) {
      if (mountPoint !== place) unmount(mountPoint, { detach: true });
    }
  }
  return { image, log };
}

async function live(options: WorkloadOptions, code = fileURLToPath(new URL('../..', import.meta.url))): Promise<void> {
  const script = join(code, 'test/power/workload.js');
  const child = spawn(process.execPath, [script, JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status, signal] = await once(child, 'close');
  if (options.life.killed ? signal !== 'SIGKILL' : status !== 0) {
    throw new Error(`the workload ended with ${status ?? signal}:\n${stderr}\n${JSON.stringify(options.life)}`);
  }
}

/** As a medium that forgets. */
function breakLayer(root: string, diffId: string, marks: string): void {
  writeFileSync(marks, JSON.stringify({ what: 'begin', op: 'break' }), { flag: 'r+' });
  const fd = openSync(new Layout(root).layerTar(parseDiffId(diffId)), 'r+');
  writeSync(fd, 'broken', 1000);
  fsyncSync(fd);
  closeSync(fd);
}

/** Of all that the power cut may meet, this is not its doing: it is said before. */
function damage(root: string, marks: string): void {
  writeFileSync(marks, JSON.stringify({ what: 'begin', op: 'rebuild' }), { flag: 'r+' });
  const database = join(root, 'metadata', 'larder.db');
  if (existsSync(database)) writeFileSync(database, Buffer.alloc(8192, 'damaged '));
}
