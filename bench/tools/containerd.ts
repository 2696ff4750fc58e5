import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Daemon } from './daemon.js';
import type { ProcessGroup } from './process-group.js';
import { pathsOf } from './programs.js';
import { type Tool, untilUp } from './tool.js';

const UNUSED = [
  'io.containerd.grpc.v1.cri',
  ...['aufs', 'btrfs', 'zfs', 'devmapper'].map((name) => `io.containerd.snapshotter.v1.${name}`),
];

/** containerd with its overlayfs snapshotter, driven by ctr; daemon, root and state of its own. */
export class Containerd implements Tool {
  readonly name = 'ctr';
  readonly #group: ProcessGroup;
  readonly #directory: string;
  readonly #socket: string;
  readonly #daemon: Daemon;

  constructor(group: ProcessGroup, directory: string) {
    this.#group = group;
    this.#directory = directory;
    this.#socket = join(directory, 'c.sock');
    this.#daemon = new Daemon(group, join(directory, 'log'));
  }

  paths(): readonly string[] {
    return pathsOf('containerd', 'ctr');
  }

  async version(): Promise<string> {
    return `containerd ${/containerd\s+(\S+)$/.exec(await this.#group.call('ctr', ['--version']))?.[1]}`;
  }

  async start(): Promise<void> {
    mkdirSync(join(this.#directory, 'mounts'), { recursive: true });
    const config = join(this.#directory, 'config.toml');
    writeFileSync(config, configuration(this.#directory, this.#socket));
    this.#daemon.start('containerd', ['-c', config]);
    await untilUp('containerd', () => this.touch(), join(this.#directory, 'log'));
  }

  stop(): Promise<void> {
    return this.#daemon.stop();
  }

  async touch(): Promise<void> {
    await this.#ctr('version');
  }

  async pull(reference: string): Promise<void> {
    await this.#ctr('image', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference);
  }

  async pullAndProvision(reference: string, id: string): Promise<void> {
    await this.pull(reference);
    await this.provision(reference, id);
  }

  async provision(reference: string, id: string): Promise<void> {
    mkdirSync(this.#target(id));
    await this.#ctr('image', 'mount', '--snapshotter', 'overlayfs', '--rw', reference, this.#target(id));
  }

  async entries(id: string): Promise<readonly string[]> {
    return readdirSync(this.#target(id));
  }

  async destroy(id: string): Promise<void> {
    await this.#ctr('image', 'unmount', '--rm', this.#target(id));
  }

  async remove(reference: string): Promise<void> {
    await this.#ctr('image', 'rm', '--sync', reference);
  }

  #target(id: string): string {
    return join(this.#directory, 'mounts', id);
  }

  #ctr(...args: readonly string[]): Promise<string> {
    return this.#group.call('ctr', ['-a', this.#socket, ...args]);
  }
}

function configuration(directory: string, socket: string): string {
  return `version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = [${UNUSED.map((plugin) => `"${plugin}"`).join(', ')}]
[grpc]
  address = "${socket}"
[debug]
  level = "warn"
`;
}
