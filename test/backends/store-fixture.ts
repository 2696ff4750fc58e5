import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '../../src/backends/backend.js';
import { BindBackend } from '../../src/backends/bind.js';
import { ChainDirectories } from '../../src/backends/chain-directories.js';
import { CopyBackend } from '../../src/backends/copy.js';
import { ErofsBackend } from '../../src/backends/erofs.js';
import type { LayerAccess } from '../../src/backends/layer-access.js';
import { OverlayBackend } from '../../src/backends/overlay.js';
import { type RunTask, runHere } from '../../src/backends/tasks.js';
import type { Layout } from '../../src/layout.js';
import { mayMount } from '../../src/linux/capabilities.js';
import { unmount } from '../../src/linux/mount.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { StoredLayers } from '../../src/testing/stored-layers.js';

export const KINDS = ['erofs', 'overlay', 'copy', 'bind', 'bind-directories'] as const;
export type Kind = (typeof KINDS)[number];

export const needsRoot = mayMount() ? false : 'needs root: mounts file systems';

export function makeBackend(
  kind: Kind,
  layout: Layout,
  access: LayerAccess,
  step: (name: string) => void = () => {},
  run: RunTask = runHere,
): Backend {
  const chains = new ChainDirectories({ directory: join(layout.derived, 'chains'), access, run, step });
  const common = { access, chains, run, step, mounts: layout.mounts, scratch: layout.staging };
  switch (kind) {
    case 'erofs':
      return new ErofsBackend(common);
    case 'overlay':
      return new OverlayBackend(common);
    case 'copy':
      return new CopyBackend(common);
    case 'bind':
      return new BindBackend({ ...common, from: 'erofs' });
    case 'bind-directories':
      return new BindBackend({ ...common, from: 'directories' });
  }
}

export interface StoreFixture {
  readonly root: string;
  readonly layers: StoredLayers;
  /** For containers. */
  readonly directory: string;
  /** Unmounts everything below the root and removes it. */
  dispose(): void;
}

export function makeStore(): StoreFixture {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'larder-backend-')));
  const directory = join(root, 'containers');
  mkdirSync(directory, { mode: 0o700 });
  return { root, layers: new StoredLayers(root), directory, dispose: () => removeStore(root) };
}

function removeStore(root: string): void {
  for (const { mountPoint } of [...mountsUnder(root)].reverse()) {
    unmount(Buffer.from(mountPoint, 'latin1'), { detach: true });
  }
  rmSync(root, { recursive: true });
}
