import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Layout } from '../../src/layout.js';
import { Database } from '../../src/metadata/database.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import type { Metadata, MetadataFixture } from '../../src/testing/conformance/metadata-manager.js';

const CHILD = join(import.meta.dirname, 'metadata-child.js');
export const isRoot = process.getuid?.() === 0;

export interface Place {
  readonly layout: Layout;
  open(options?: { readonly readOnly?: boolean }): Promise<Database>;
  dispose(): Promise<void>;
}

/** A store's root of its own; every database that was opened is closed in the end. */
export async function place(): Promise<Place> {
  const layout = new Layout(mkdtempSync(join(tmpdir(), 'larder-metadata-')));
  const opened: Database[] = [];
  return {
    layout,
    open: async (options) => {
      const database = await Database.open(layout.database, options);
      opened.push(database);
      return database;
    },
    dispose: async () => {
      for (const database of opened) database.close();
      rmSync(layout.root, { recursive: true });
    },
  };
}

/** The real manager; `wrap` lets a test break a promise. */
export async function metadataFixture(
  wrap: (metadata: MetadataManager) => Metadata = (m) => m,
): Promise<MetadataFixture> {
  const here = await place();
  const path = here.layout.database;
  const open: MetadataFixture['open'] = async (type = 'docker') =>
    wrap(MetadataManager.create({ database: await here.open(), type }));
  return {
    metadata: await open(),
    open,
    putInProcess: async (records) => {
      const child = spawn(process.execPath, [CHILD, 'put', path], { stdio: ['pipe', 'ignore', 'inherit'] });
      child.stdin.end(JSON.stringify(records));
      const [code] = await once(child, 'exit');
      if (code !== 0) throw new Error(`put in a process of its own ended with ${code}`);
    },
    putUntilKilled: async () => {
      const child = spawn(process.execPath, [CHILD, 'endless', path], { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      await once(child.stdout, 'data');
      const kill = async (): Promise<readonly string[]> => {
        await sleep(100);
        child.kill('SIGKILL');
        await once(child.stdout, 'end');
        // What follows the last line's end was never said whole.
        return text.split('\n').slice(0, -1);
      };
      return { kill };
    },
    dispose: here.dispose,
  };
}

/** The same on a small tmpfs that can be filled to the last byte. For root. */
export async function smallDiskFixture(): Promise<MetadataFixture> {
  const disk = mkdtempSync(join(tmpdir(), 'larder-small-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'tmpfs', disk]);
  const layout = new Layout(join(disk, 'store'));
  mkdirSync(layout.root);
  const opened: Database[] = [];
  const open: MetadataFixture['open'] = async (type = 'docker') => {
    const database = await Database.open(layout.database);
    opened.push(database);
    return MetadataManager.create({ database, type });
  };
  return {
    metadata: await open(),
    open,
    fillDisk: async () => {
      fill(join(disk, 'filler'));
      return async () => unlinkSync(join(disk, 'filler'));
    },
    dispose: async () => {
      for (const database of opened) database.close();
      // Lazily: on Node 20 a closed database keeps its descriptors until its statements are collected.
      execFileSync('umount', ['-l', disk]);
      rmSync(disk, { recursive: true });
    },
  };
}

function fill(path: string): void {
  const fd = openSync(path, 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  } finally {
    closeSync(fd);
  }
}
