import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { call, type Tool } from './tool.js';

const UNUSED = ['cri', 'aufs', 'btrfs', 'zfs', 'devmapper'].map((name) =>
  name === 'cri' ? 'io.containerd.grpc.v1.cri' : `io.containerd.snapshotter.v1.${name}`,
);

/** containerd with its overlayfs snapshotter, driven by ctr; daemon, root and state of its own. */
export class Containerd implements Tool {
  readonly name = 'ctr';
  readonly #directory: string;
  readonly #socket: string;
  #daemon: ChildProcess | undefined;

  constructor(directory: string) {
    this.#directory = directory;
    this.#socket = join(directory, 'c.sock');
  }

  version(): string {
    return call('ctr', ['--version']);
  }

  async start(): Promise<void> {
    mkdirSync(join(this.#directory, 'mounts'), { recursive: true });
    const config = join(this.#directory, 'config.toml');
    writeFileSync(config, configuration(this.#directory, this.#socket));
    const log = openSync(join(this.#directory, 'log'), 'a');
    this.#daemon = spawn('containerd', ['-c', config], { stdio: ['ignore', log, log] });
    for (let tries = 0; tries < 200; tries++) {
      await sleep(50);
      try {
        return this.touch();
      } catch {
        // Not up yet: the last try's failure is told below.
      }
    }
    throw new Error(`containerd: did not start, see ${this.#directory}/log`);
  }

  async stop(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon === undefined || daemon.exitCode !== null) return;
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill();
    await ended;
  }

  touch(): void {
    this.#ctr('version');
  }

  pullAndProvision(reference: string, id: string): string {
    this.#ctr('image', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference);
    return this.provision(reference, id);
  }

  provision(reference: string, id: string): string {
    const target = this.#target(id);
    mkdirSync(target);
    this.#ctr('image', 'mount', '--snapshotter', 'overlayfs', '--rw', reference, target);
    return target;
  }

  destroy(id: string): void {
    this.#ctr('image', 'unmount', '--rm', this.#target(id));
  }

  remove(reference: string): void {
    this.#ctr('image', 'rm', '--sync', reference);
  }

  #target(id: string): string {
    return join(this.#directory, 'mounts', id);
  }

  #ctr(...args: readonly string[]): string {
    return call('ctr', ['-a', this.#socket, ...args]);
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
