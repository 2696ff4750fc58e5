/** ▸ Other programs that make trees of layers, as they are installed here: what they make of a case, to compare with. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { diffListings, listTree, type TreeLine } from '../../src/testing/tree-digest.js';
import { needs } from '../e2e/tools.js';
import { type Child, start } from '../helpers/child.js';
import type { LayerCase } from './case.js';
import type { Sources } from './pullers.js';

const run = promisify(execFile);

export type PeerName = 'umoci' | 'containerd';

/** Its tree of a case, or why there is none. */
export type PeerTree = readonly TreeLine[] | string;

export interface Peer extends AsyncDisposable {
  readonly name: PeerName;
  unpack(one: LayerCase, sources: Sources): Promise<PeerTree>;
}

/** Those that are installed, each in a directory of its own below `directory`. */
export async function openPeers(directory: string): Promise<readonly Peer[]> {
  const peers: Peer[] = [];
  if (needs('umoci') === false) peers.push(new Umoci(directory));
  if (needs('containerd', 'ctr') === false) peers.push(await Containerd.start(directory));
  return peers;
}

/** Directories that no entry lists have the time 0 here, elsewhere that of the unpacking. */
const IMPLIED = /: mtime: \d+ and 0$/;

/**
 * What is not as the case says of this peer, one line each. `ours` is the root of larder's tree, undefined for what it
 * refuses. Where nothing is said of the peer it must make the same; where something is, it must not.
 */
export function comparePeer(name: PeerName, one: LayerCase, ours: string | undefined, theirs: PeerTree): string[] {
  const said = one[name];
  const differences = differencesOf(ours, theirs);
  if (said === undefined) return differences.map((line) => `${name} and larder: ${line}`);
  return differences.length > 0 ? [] : [`${name} makes the same, though it is said that it ${said}`];
}

function differencesOf(ours: string | undefined, theirs: PeerTree): readonly string[] {
  if (ours === undefined) return typeof theirs === 'string' ? [] : ['it takes what larder refuses'];
  if (typeof theirs === 'string') return [theirs];
  return diffListings(theirs, listTree(ours)).filter((line) => !IMPLIED.test(line));
}

function whyNot(error: { readonly stderr?: string }): string {
  return String(error.stderr ?? error).trim();
}

class Umoci implements Peer {
  readonly name = 'umoci';
  readonly #bundle: string;

  /** With a directory of its own in between: for a whiteout called `.wh...` version 0.4.7 removes the parent of the bundle. */
  constructor(directory: string) {
    this.#bundle = join(directory, 'umoci', 'between', 'bundle');
  }

  async unpack(one: LayerCase, sources: Sources): Promise<PeerTree> {
    const image = sources.layout(one);
    mkdirSync(dirname(this.#bundle), { recursive: true });
    try {
      await run('umoci', ['raw', 'unpack', '--image', image, this.#bundle], { timeout: 60_000 });
      return listTree(this.#bundle);
    } catch (error) {
      return whyNot(error as { stderr?: string });
    } finally {
      // However deep it is: Node's own removal calls itself.
      await run('rm', ['-rf', '--', this.#bundle]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** A daemon of our own, with its default snapshotter, overlayfs, as Kubernetes and Docker use it. */
class Containerd implements Peer {
  readonly name = 'containerd';
  readonly #directory: string;
  readonly #daemon: Child;
  #number = 0;

  private constructor(directory: string, daemon: Child) {
    this.#directory = directory;
    this.#daemon = daemon;
  }

  static async start(place: string): Promise<Containerd> {
    const directory = join(place, 'containerd');
    mkdirSync(join(directory, 'rootfs'), { recursive: true });
    const config = join(directory, 'config.toml');
    const lines = [
      'version = 2',
      `root = "${directory}/root"`,
      `state = "${directory}/state"`,
      // What Kubernetes needs, and what writes to the host.
      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]',
      '[grpc]',
      `address = "${directory}/socket"`,
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const peer = new Containerd(directory, start('containerd', ['--config', config], { timeout: 0 }));
    await until(() => peer.#ctr('version').then(Boolean, () => false), 'containerd answers');
    return peer;
  }

  async unpack(one: LayerCase, sources: Sources): Promise<PeerTree> {
    const base = `corpus.example/${this.#number++}`;
    const rootfs = join(this.#directory, 'rootfs');
    try {
      await this.#ctr('images', 'import', '--base-name', base, sources.archive(one));
      await this.#ctr('images', 'mount', `${base}:case`, rootfs);
      try {
        return listTree(rootfs);
      } finally {
        await this.#ctr('images', 'unmount', '--rm', rootfs);
      }
    } catch (error) {
      return whyNot(error as { stderr?: string });
    } finally {
      // What could not be imported at all has no name to remove.
      await this.#ctr('images', 'rm', '--sync', `${base}:case`).catch(() => {});
    }
  }

  async #ctr(...args: readonly string[]): Promise<string> {
    const { stdout } = await run('ctr', ['-a', join(this.#directory, 'socket'), ...args], { timeout: 60_000 });
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#daemon.kill('SIGTERM');
    await this.#daemon.ended;
  }
}
