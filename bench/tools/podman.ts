import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessGroup } from './process-group.js';
import { pathsOf } from './programs.js';
import type { Tool } from './tool.js';

/** podman with its overlay driver, root and run directory of its own. */
export class Podman implements Tool {
  readonly name = 'podman';
  readonly #group: ProcessGroup;
  readonly #directory: string;
  readonly #mounts = new Map<string, string>();

  constructor(group: ProcessGroup, directory: string) {
    this.#group = group;
    this.#directory = directory;
  }

  paths(): readonly string[] {
    return pathsOf('podman');
  }

  version(): Promise<string> {
    return this.#group.call('podman', ['--version']);
  }

  async start(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true });
    await this.touch();
  }

  async stop(): Promise<void> {}

  async touch(): Promise<void> {
    await this.#podman('images');
  }

  async pull(reference: string): Promise<void> {
    await this.#podman('pull', '-q', '--tls-verify=false', reference);
  }

  async pullAndProvision(reference: string, id: string): Promise<void> {
    await this.pull(reference);
    await this.provision(reference, id);
  }

  async provision(reference: string, id: string): Promise<void> {
    await this.#podman('create', '--network', 'none', '--name', id, reference, '/bin/true');
    this.#mounts.set(id, await this.#podman('mount', id));
  }

  async entries(id: string): Promise<readonly string[]> {
    return readdirSync(this.#mounts.get(id) ?? '');
  }

  async destroy(id: string): Promise<void> {
    await this.#podman('umount', id);
    await this.#podman('rm', id);
  }

  async remove(reference: string): Promise<void> {
    await this.#podman('rmi', reference);
  }

  #podman(...args: readonly string[]): Promise<string> {
    const own = ['--root', join(this.#directory, 'root'), '--runroot', join(this.#directory, 'run')];
    const quiet = ['--storage-driver', 'overlay', '--cgroup-manager=cgroupfs', '--events-backend=none'];
    return this.#group.call('podman', [...own, ...quiet, ...args]);
  }
}
