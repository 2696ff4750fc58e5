/**
 * The root filesystems of one container: all made together, undone together, and mounted again after a reboot. Called by
 * who has the container's turn, and after its claim is durable (I4).
 *
 *     containers/<id>/with                 a link whose text is the flags of the mount, for when it is made again
 *     containers/<id>/rootfs, upper, …     the backend's (backends/rootfs-files.ts)
 *     containers/<id>/volumes/<name>/      the same for each image volume
 */
import { symlinkSync } from 'node:fs';
import { mkdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from '../backends/backend.js';
import { errnoOf, LarderError, systemError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { Layout } from '../layout.js';
import { mayMount } from '../linux/capabilities.js';
import { fsyncDirectory } from '../linux/durable.js';
import { isMountPoint } from '../linux/mount-point.js';
import { mountsUnder } from '../linux/mountinfo.js';
import { namesIn } from '../linux/names-in.js';
import { removeSmallTree } from '../linux/remove-tree.js';
import type { Claims } from '../metadata/claims.js';
import { writeClaimFile } from '../metadata/names.js';
import type { ClaimedImage, ClaimRecord } from '../metadata/records.js';
import { type ContainerId, isName } from '../spec/container-id.js';
import { allDone } from './all-done.js';

/** How one root filesystem is mounted. */
export interface RootfsFlags {
  readonly nodev: boolean;
  readonly nosuid: boolean;
  readonly noexec: boolean;
  /** Beyond what its backend does: one whose backend is read-only needs no more. */
  readonly readOnly: boolean;
}

/** Entries that are removed at once. */
const SMALL_TREE = 100;
const FLAGS = ['nodev', 'nosuid', 'noexec', 'readOnly'] as const;

export interface RootFilesystemsParts {
  readonly layout: Layout;
  readonly claims: Claims;
  /** A backend by name, whether or not it works here. */
  readonly backendOf: (name: string) => Backend;
}

export class RootFilesystems {
  readonly #parts: RootFilesystemsParts;

  constructor(parts: RootFilesystemsParts) {
    this.#parts = parts;
  }

  /**
   * Makes every root filesystem of the claim, side by side; one answer for each, in the claim's order. Rejects when all
   * have ended and one failed; what was made by then is undone by {@link unmake}.
   */
  async make(
    claim: ClaimRecord,
    flagsOf: (image: ClaimedImage) => RootfsFlags,
    options: OperationOptions,
  ): Promise<readonly ProvisionedRootfs[]> {
    const { layout } = this.#parts;
    await mkdir(layout.container(claim.container), { mode: 0o700 });
    // Before anything is mounted: from it the claim comes back, should the database be lost.
    await writeClaimFile(layout.container(claim.container), claim);
    if (claim.images.some(({ name }) => name !== '')) await mkdir(layout.volumes(claim.container), { mode: 0o700 });
    return allDone(claim.images, options.signal, (image, signal) =>
      this.#makeOne(claim.container, image, flagsOf(image), { ...options, signal }),
    );
  }

  async #makeOne(
    container: ContainerId,
    { name, backend, layers }: ClaimedImage,
    flags: RootfsFlags,
    options: OperationOptions,
  ): Promise<ProvisionedRootfs> {
    const { layout, backendOf } = this.#parts;
    const directory = layout.backendDirectory(container, name);
    const rootfs = layout.rootfs(container, name);
    if (name !== '') await mkdir(directory, { mode: 0o700 });
    symlinkSync(formatFlags(flags), withOf(directory));
    const paths = layers.map((layer) => layout.layerPath(layer));
    // What is mounted on top of it has it.
    const noexec = flags.noexec && !(flags.readOnly && mayMount());
    const own = { ...options, ...mountFlags({ ...flags, noexec }) };
    const made = await backendOf(backend).provision(paths, rootfs, directory, own);
    if (!flags.readOnly) return made;
    if (await forbidWriting(rootfs, flags)) return { ...made, ephemeral: [] };
    const warning = `volume ${name}: its files are a copy that can be written: making it read-only needs root`;
    return { ephemeral: made.ephemeral, warnings: [...made.warnings, warning] };
  }

  /**
   * Mounts, files, claim, and what was shared: in this order, so that a crash leaves the claim to try again by. Undoes
   * any half of what was made, also where the claim or the directory is lost. Rejects with LARDER_ROOTFS_BUSY,
   * LARDER_PERMISSION; the claim is there then.
   */
  async unmake(container: ContainerId, claim: ClaimRecord | undefined): Promise<void> {
    const { layout, claims, backendOf } = this.#parts;
    for (const { name, backend } of claim?.images ?? (await this.#withoutClaim(container))) {
      await backendOf(backend).destroy(layout.rootfs(container, name), layout.backendDirectory(container, name));
    }
    await this.#removeDirectory(container, layout.container(container));
    // A power cut must not undo this and keep the end of the claim: nobody would know whose the directory is.
    await fsyncDirectory(layout.containers);
    if (claim === undefined) return;
    await claims.remove(container);
    const released = new Set<string>();
    for (const { mergedKey, backend, layers } of claim.images) {
      if (mergedKey === undefined || released.has(mergedKey)) continue;
      released.add(mergedKey);
      await backendOf(backend).release?.(layers.map((layer) => layout.layerPath(layer)));
    }
  }

  /**
   * Mounts again what a reboot has unmounted; what the container wrote is there as before. Answers the paths that were
   * mounted. Rejects when one cannot be mounted, or is not there.
   */
  async restore(claim: ClaimRecord, options: OperationOptions = {}): Promise<string[]> {
    const restored: string[] = [];
    for (const image of claim.images) {
      const rootfs = this.#parts.layout.rootfs(claim.container, image.name);
      if (await this.#restoreOne(claim.container, image, rootfs, options)) restored.push(rootfs);
    }
    return restored;
  }

  async #restoreOne(
    container: ContainerId,
    { name, backend, layers }: ClaimedImage,
    rootfs: string,
    options: OperationOptions,
  ): Promise<boolean> {
    const { layout, backendOf } = this.#parts;
    if (!isLinux() || isMountPoint(rootfs)) return false;
    const directory = layout.backendDirectory(container, name);
    await requireDirectory(rootfs, container);
    backendOf(backend).requireWhole?.(rootfs, directory);
    const flags = await readFlags(directory);
    const { remount } = backendOf(backend);
    if (remount === undefined && !flags.readOnly) return false;
    const paths = layers.map((layer) => layout.layerPath(layer));
    const mounting: ProvisionOptions = { ...options, ...mountFlags(flags) };
    await remount?.call(backendOf(backend), paths, rootfs, directory, mounting);
    if (flags.readOnly) await forbidWriting(rootfs, flags);
    return true;
  }

  /** Without a claim (lost metadata) the plainest backend's undo fits all: unmount what is mounted, remove the files. */
  async #withoutClaim(container: ContainerId): Promise<readonly Pick<ClaimedImage, 'name' | 'backend'>[]> {
    const names = await namesIn(this.#parts.layout.volumes(container));
    return ['', ...names.filter(isName)].map((name) => ({ name, backend: 'copy' }));
  }

  async #removeDirectory(container: ContainerId, directory: string): Promise<void> {
    try {
      // What backends leave is a few files: gone sooner than a thread of the pool is asked for each.
      if (isLinux() && removeSmallTree(directory, SMALL_TREE) !== undefined) return;
      refuseMounted(container, directory);
      await rm(directory, { recursive: true, force: true });
    } catch (error) {
      throw systemError(`destroy ${container}`, error);
    }
  }
}

const isLinux = (): boolean => process.platform === 'linux';

function refuseMounted(container: ContainerId, directory: string): void {
  const [mount] = isLinux() ? mountsUnder(directory) : [];
  if (mount === undefined) return;
  throw new LarderError('LARDER_ROOTFS_BUSY', `destroy ${container}: ${mount.mountPoint}: still mounted`, {
    hint: 'unmount what was mounted below the root filesystem, then destroy it again',
  });
}

/** Puts a read-only mount of it on top. False where this process may not mount. Destroying unmounts both. */
async function forbidWriting(rootfs: string, flags: RootfsFlags): Promise<boolean> {
  if (!mayMount()) return false;
  const { bindMount } = await import('../linux/mount.js');
  try {
    bindMount({ source: rootfs, target: rootfs, readOnly: true, ...mountFlags(flags) });
  } catch (error) {
    throw systemError(`mount ${rootfs} read-only`, error);
  }
  return true;
}

async function requireDirectory(rootfs: string, container: ContainerId): Promise<void> {
  if ((await namesIn(join(rootfs, '..'))).includes('rootfs')) return;
  throw new LarderError('LARDER_PATH_NOT_FOUND', `recover ${container}: ${rootfs}: it was never made, or is gone`, {
    hint: `destroy the container: \`larder destroy ${container}\``,
  });
}

const withOf = (directory: string): string => join(directory, 'with');

function formatFlags(flags: RootfsFlags): string {
  return FLAGS.filter((name) => flags[name]).join(',') || 'none';
}

/** Where the note is lost, the careful default. */
async function readFlags(directory: string): Promise<RootfsFlags> {
  let text = 'nodev';
  try {
    text = await readlink(withOf(directory));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw systemError(`read ${withOf(directory)}`, error);
  }
  const set = new Set(text.split(','));
  const [nodev, nosuid, noexec, readOnly] = FLAGS.map((name) => set.has(name));
  return { nodev: nodev === true, nosuid: nosuid === true, noexec: noexec === true, readOnly: readOnly === true };
}

function mountFlags({ nodev, nosuid, noexec }: RootfsFlags): Omit<RootfsFlags, 'readOnly'> {
  return { nodev, nosuid, noexec };
}
