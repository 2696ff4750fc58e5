import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ContentManager, ContentStore } from '../../src/content/content-store.js';
import { Layout } from '../../src/layout.js';
import type { ContentStoreFixture } from '../../src/testing/conformance/content-store.js';

const CHILD = join(import.meta.dirname, 'content-child.js');

export interface StoreFixture extends ContentStoreFixture {
  readonly layout: Layout;
}

/** The real store in a directory of its own; `wrap` lets a test break a promise. */
export async function contentFixture(wrap: (store: ContentStore) => ContentManager = (s) => s): Promise<StoreFixture> {
  const root = mkdtempSync(join(tmpdir(), 'larder-content-'));
  const layout = new Layout(root);
  const open = async (): Promise<ContentManager> => wrap(await ContentStore.create(layout));
  return {
    layout,
    store: await open(),
    reopen: open,
    damage: async (digest, bytes) => {
      chmodSync(layout.blob(digest), 0o600);
      writeFileSync(layout.blob(digest), bytes);
    },
    putInProcess: async (bytes) => {
      const child = spawn(process.execPath, [CHILD, 'put', root], { stdio: ['pipe', 'ignore', 'inherit'] });
      child.stdin.end(bytes);
      const [code] = await once(child, 'exit');
      if (code !== 0) throw new Error(`put in a process of its own ended with ${code}`);
    },
    ingestInProcess: async (digest, bytes) => {
      const child = spawn(process.execPath, [CHILD, 'ingest', root, digest], { stdio: ['pipe', 'pipe', 'inherit'] });
      child.stdin.end(bytes);
      await once(child.stdout, 'data');
      const kill = async (): Promise<void> => {
        child.kill('SIGKILL');
        await once(child, 'exit');
      };
      return { kill };
    },
    dispose: async () => rmSync(root, { recursive: true }),
  };
}
