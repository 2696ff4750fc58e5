import { join } from 'node:path';
import { type Larder, openLarder } from '../../src/index.js';
import type { Tool } from './tool.js';

/**
 * larder as a program embeds it: the store is open, no process is started. What a daemon's client is to be compared
 * with, as the command is with programs that start anew each time.
 */
export class LarderLibrary implements Tool {
  readonly name = 'larder-library';
  readonly #root: string;
  #open: Larder | undefined;

  constructor(directory: string) {
    this.#root = join(directory, 'store');
  }

  version(): string {
    return 'in a process that keeps the store open';
  }

  async start(): Promise<void> {
    this.#open = await openLarder({ root: this.#root });
  }

  async stop(): Promise<void> {
    await this.#open?.close();
    this.#open = undefined;
  }

  touch(): void {
    this.#larder().images();
  }

  async pullAndProvision(reference: string, id: string): Promise<string> {
    return this.provision(reference, id);
  }

  async provision(reference: string, id: string): Promise<string> {
    return (await this.#larder().provision(reference, { id })).rootfs;
  }

  async destroy(id: string): Promise<void> {
    await this.#larder().destroy(id);
  }

  async remove(reference: string): Promise<void> {
    await this.#larder().remove(reference);
  }

  #larder(): Larder {
    if (this.#open === undefined) throw new Error('larder-library: not started');
    return this.#open;
  }
}
