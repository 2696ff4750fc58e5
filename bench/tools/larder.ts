import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { call, type Tool } from './tool.js';

export class Larder implements Tool {
  readonly name = 'larder';
  readonly #checkout: string;
  readonly #root: string;

  constructor(checkout: string, directory: string) {
    this.#checkout = checkout;
    this.#root = join(directory, 'store');
  }

  version(): string {
    return this.#run('--version');
  }

  async start(): Promise<void> {
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
  }

  async stop(): Promise<void> {}

  touch(): void {
    this.#run('images');
  }

  pullAndProvision(reference: string, id: string): string {
    return this.#run('provision', reference, '--id', id);
  }

  provision(reference: string, id: string): string {
    return this.#run('provision', reference, '--id', id);
  }

  destroy(id: string): void {
    this.#run('destroy', id);
  }

  remove(reference: string): void {
    this.#run('remove', reference);
  }

  #run(...args: readonly string[]): string {
    return call(process.execPath, [join(this.#checkout, 'bin', 'larder.js'), '--root', this.#root, ...args]);
  }
}
