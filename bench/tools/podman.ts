import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { call, type Tool } from './tool.js';

/** podman with its overlay driver, root and run directory of its own. */
export class Podman implements Tool {
  readonly name = 'podman';
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  version(): string {
    return call('podman', ['--version']);
  }

  async start(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true });
    this.touch();
  }

  async stop(): Promise<void> {}

  touch(): void {
    this.#podman('images');
  }

  pullAndProvision(reference: string, id: string): string {
    this.#podman('pull', '-q', '--tls-verify=false', reference);
    return this.provision(reference, id);
  }

  provision(reference: string, id: string): string {
    this.#podman('create', '--network', 'none', '--name', id, reference, '/bin/true');
    return this.#podman('mount', id);
  }

  destroy(id: string): void {
    this.#podman('umount', id);
    this.#podman('rm', id);
  }

  remove(reference: string): void {
    this.#podman('rmi', reference);
  }

  #podman(...args: readonly string[]): string {
    const own = ['--root', join(this.#directory, 'root'), '--runroot', join(this.#directory, 'run')];
    return call('podman', [
      ...own,
      '--storage-driver',
      'overlay',
      '--cgroup-manager=cgroupfs',
      '--events-backend=none',
      ...args,
    ]);
  }
}
