/** What images and root filesystems are, name by name and byte by byte, as one digest. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { openLarder, type PulledImage } from '../../src/index.js';
import { treeDigest } from '../../src/testing/tree-digest.js';
import type { World } from './world.js';

export interface Trees {
  /** What larder itself reads. */
  readonly image: string;
  /** What the kernel shows of it where it is mounted. */
  readonly rootfs: string;
}

/** By the DiffIDs joined by blanks: as a store says that was never without power. Publishes all versions anew. */
export async function treesOf(world: World, directory: string): Promise<ReadonlyMap<string, Trees>> {
  const trees = new Map<string, Trees>();
  await using larder = await openLarder({
    root: join(directory, 'healthy'),
    appc_simple_discovery_uri_prefix: world.acis,
  });
  for (const version of world.versions) {
    world.publish(version);
    await using image = await larder.pull(version.reference, { cached: false });
    const { rootfs } = await larder.provision(version.reference, { id: 'healthy', backend: 'erofs' });
    trees.set(version.layers.join(' '), { image: await digestOfImage(image.fs), rootfs: digestOfRootfs(rootfs) });
    await larder.destroy('healthy');
  }
  return trees;
}

export async function digestOfImage(fs: PulledImage['fs']): Promise<string> {
  const hash = createHash('sha256');
  for await (const { pathBytes, type, stat } of fs.walk('')) {
    const { mode, uid, gid, mtime, mtimeNs } = stat;
    const content = type === 'file' ? await fs.readFile(pathBytes) : await targetOf(fs, pathBytes, type);
    const path = Buffer.from(pathBytes).toString('hex');
    hash.update(`${[path, type, mode, uid, gid, mtime, mtimeNs, content.length].join(' ')}\n`).update(content);
  }
  return hash.digest('hex');
}

export function digestOfRootfs(rootfs: string): string {
  return treeDigest(rootfs, { ignoreOverlayXattrs: true });
}

async function targetOf(fs: PulledImage['fs'], path: Uint8Array, type: string): Promise<Uint8Array> {
  return type === 'symlink' ? fs.readlink(path) : Buffer.alloc(0);
}
