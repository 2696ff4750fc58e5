/**
 * A backend of one's own, and the suite that says whether it is one. It copies each image once and gives every
 * container a clone of that, which costs nothing on file systems with reflinks (btrfs, XFS):
 *
 *     node dist/examples/custom-backend.js
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readlink, rename, rmdir, symlink, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from '../src/backends/backend.js';
import { CopyBackend } from '../src/backends/copy.js';
import type { LayerAccess } from '../src/backends/layer-access.js';
import { runHere } from '../src/backends/tasks.js';
import { LarderError } from '../src/errors.js';
import { removeTree } from '../src/linux/remove-tree.js';
import { type BackendFixture, backendConformance } from '../src/testing/conformance/backend.js';
import { StoredLayers } from '../src/testing/stored-layers.js';

const run = promisify(execFile);

class CloneBackend implements Backend {
  readonly name = 'copy';
  readonly #access: LayerAccess;
  readonly #templates: string;
  readonly #copy: CopyBackend;

  constructor(access: LayerAccess, templates: string) {
    this.#access = access;
    this.#templates = templates;
    this.#copy = new CopyBackend({ access, run: runHere, scratch: templates });
  }

  async probe(): Promise<{ usable: boolean; reason: string }> {
    return this.#copy.probe();
  }

  async provision(
    layers: readonly string[],
    rootfs: string,
    backendDir: string,
    options: ProvisionOptions = {},
  ): Promise<ProvisionedRootfs> {
    const { template, warnings } = await this.#templateOf(layers, options);
    await mkdir(rootfs, { mode: 0o700 }).catch(() => {
      throw new LarderError('LARDER_CONTAINER_EXISTS', `provision: ${rootfs}: already exists`);
    });
    // Says that the directory is ours: destroy removes nothing without it.
    await symlink(rootfs, join(backendDir, 'made'));
    await run('cp', ['-a', '--reflink=auto', `${template}/.`, rootfs], {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return { ephemeral: [rootfs], warnings };
  }

  async destroy(rootfs: string, backendDir: string): Promise<boolean> {
    const made = join(backendDir, 'made');
    if ((await readlink(made).catch(() => undefined)) === undefined) {
      // Killed between the directory and its note, or not ours.
      return rmdir(rootfs).then(
        () => true,
        () => false,
      );
    }
    removeTree(rootfs);
    await unlink(made);
    return true;
  }

  /** Appears under its name only when it is whole. */
  async #templateOf(
    layers: readonly string[],
    options: ProvisionOptions,
  ): Promise<{ template: string; warnings: readonly string[] }> {
    const place = join(this.#templates, this.#access.mergedKeyOf(layers));
    const template = join(place, 'rootfs');
    if (await lstat(place).catch(() => undefined)) return { template, warnings: [] };
    const making = join(this.#templates, randomUUID());
    await mkdir(making, { mode: 0o700 });
    const { warnings } = await this.#copy.provision(layers, join(making, 'rootfs'), making, options);
    await rename(making, place);
    return { template, warnings };
  }
}

async function createFixture(): Promise<BackendFixture> {
  const root = await mkdtemp(join(tmpdir(), 'larder-clone-'));
  const [directory, templates] = [join(root, 'containers'), join(root, 'templates')];
  for (const path of [directory, templates]) await mkdir(path, { mode: 0o700 });
  const layers = new StoredLayers(join(root, 'store'));
  return {
    backend: new CloneBackend(layers, templates),
    directory,
    writable: true,
    mounts: false,
    // It neither unmounts what is mounted inside nor promises every xattr.
    privileged: false,
    addLayer: (tar) => layers.add(tar),
    layersState: () => layers.digests(),
    dispose: () => void removeTree(root),
  };
}

backendConformance('a backend that clones', createFixture);
