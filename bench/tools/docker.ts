import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Daemon } from './daemon.js';
import type { ProcessGroup } from './process-group.js';
import { pathsOf } from './programs.js';
import { type Tool, untilUp } from './tool.js';

const NO_NETWORK = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'];

/**
 * Docker with its overlay2 driver; daemon, root and state of its own. `docker create` is all that it does to have a
 * writable root filesystem: it is mounted only while the container runs. The clock stops there, so a mount (or the
 * start of a process) that Docker's users need besides is not held against it.
 */
export class Docker implements Tool {
  readonly name = 'docker';
  readonly #group: ProcessGroup;
  readonly #directory: string;
  readonly #socket: string;
  readonly #daemon: Daemon;

  constructor(group: ProcessGroup, directory: string) {
    this.#group = group;
    this.#directory = directory;
    this.#socket = `unix://${join(directory, 'd.sock')}`;
    this.#daemon = new Daemon(group, join(directory, 'log'));
  }

  paths(): readonly string[] {
    return pathsOf('dockerd', 'docker', 'containerd');
  }

  async version(): Promise<string> {
    return (await this.#group.call('dockerd', ['--version'])).replace(/,.*$/, '');
  }

  async start(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true });
    this.#daemon.start('dockerd', [
      ...['--data-root', join(this.#directory, 'root'), '--exec-root', join(this.#directory, 'exec')],
      ...['--pidfile', join(this.#directory, 'pid'), '-H', this.#socket],
      ...['--storage-driver', 'overlay2', '-l', 'warn', ...NO_NETWORK],
    ]);
    await untilUp('dockerd', () => this.touch(), join(this.#directory, 'log'));
  }

  stop(): Promise<void> {
    return this.#daemon.stop();
  }

  async touch(): Promise<void> {
    await this.#docker('version');
  }

  async pull(reference: string): Promise<void> {
    await this.#docker('pull', '-q', reference);
  }

  async pullAndProvision(reference: string, id: string): Promise<void> {
    await this.pull(reference);
    await this.provision(reference, id);
  }

  async provision(reference: string, id: string): Promise<void> {
    await this.#docker('create', '--network', 'none', '--name', id, reference, '/bin/true');
  }

  /** What its mount would show. */
  async entries(id: string): Promise<readonly string[]> {
    const data = await this.#docker(
      'inspect',
      '-f',
      '{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}',
      id,
    );
    return data.split(':').flatMap((directory) => readdirSync(directory));
  }

  async destroy(id: string): Promise<void> {
    await this.#docker('rm', id);
  }

  async remove(reference: string): Promise<void> {
    await this.#docker('rmi', reference);
  }

  #docker(...args: readonly string[]): Promise<string> {
    return this.#group.call('docker', ['--config', join(this.#directory, 'client'), '-H', this.#socket, ...args]);
  }
}
