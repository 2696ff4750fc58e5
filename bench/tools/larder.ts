import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessGroup } from './process-group.js';
import { larderPaths } from './programs.js';
import type { Tool } from './tool.js';

/** The command of this checkout. */
export class Larder implements Tool {
  readonly name = 'larder';
  readonly #group: ProcessGroup;
  readonly #checkout: string;
  readonly #root: string;
  readonly #mounts = new Map<string, string>();

  constructor(group: ProcessGroup, checkout: string, directory: string) {
    this.#group = group;
    this.#checkout = checkout;
    this.#root = join(directory, 'store');
  }

  paths(): readonly string[] {
    return larderPaths(this.#checkout);
  }

  version(): Promise<string> {
    return this.#run('--version');
  }

  async start(): Promise<void> {
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
  }

  async stop(): Promise<void> {}

  async touch(): Promise<void> {
    await this.#run('images');
  }

  async pull(reference: string): Promise<void> {
    await this.#run('pull', '--refresh', reference);
  }

  pullAndProvision(reference: string, id: string): Promise<void> {
    return this.provision(reference, id);
  }

  async provision(reference: string, id: string): Promise<void> {
    this.#mounts.set(id, await this.#run('provision', reference, '--id', id));
  }

  async entries(id: string): Promise<readonly string[]> {
    return readdirSync(this.#mounts.get(id) ?? '');
  }

  async destroy(id: string): Promise<void> {
    await this.#run('destroy', id);
  }

  async remove(reference: string): Promise<void> {
    await this.#run('remove', reference);
  }

  #run(...args: readonly string[]): Promise<string> {
    return this.#group.call(process.execPath, [
      join(this.#checkout, 'bin', 'larder.js'),
      '--root',
      this.#root,
      ...args,
    ]);
  }
}
