import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answer, Question } from './larder-library-host.js';
import { ended, type ProcessGroup } from './process-group.js';
import { larderPaths } from './programs.js';
import type { Tool } from './tool.js';

const HOST = fileURLToPath(new URL('./larder-library-host.js', import.meta.url));

/**
 * larder as a program embeds it: the store is open in a process that goes on, no process is started. What a daemon's
 * client is to be compared with, as the command is with programs that start anew each time.
 */
export class LarderLibrary implements Tool {
  readonly name = 'larder-library';
  readonly #group: ProcessGroup;
  readonly #checkout: string;
  readonly #root: string;
  readonly #mounts = new Map<string, string>();
  #host: ChildProcess | undefined;

  constructor(group: ProcessGroup, checkout: string, directory: string) {
    this.#group = group;
    this.#checkout = checkout;
    this.#root = join(directory, 'store');
  }

  paths(): readonly string[] {
    return larderPaths(this.#checkout);
  }

  async version(): Promise<string> {
    return 'larder in a process that keeps the store open';
  }

  async start(): Promise<void> {
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
    this.#host = this.#group.spawn(process.execPath, [HOST, this.#root], ['ignore', 'inherit', 'inherit', 'ipc']);
    await this.touch();
  }

  async stop(): Promise<void> {
    const host = this.#host;
    this.#host = undefined;
    if (host === undefined || host.exitCode !== null || host.signalCode !== null) return;
    const end = ended(host);
    host.disconnect();
    await end;
  }

  async touch(): Promise<void> {
    await this.#ask({ method: 'images' });
  }

  async pull(reference: string): Promise<void> {
    await this.#ask({ method: 'pull', reference });
  }

  pullAndProvision(reference: string, id: string): Promise<void> {
    return this.provision(reference, id);
  }

  async provision(reference: string, id: string): Promise<void> {
    this.#mounts.set(id, await this.#ask({ method: 'provision', reference, id }));
  }

  async entries(id: string): Promise<readonly string[]> {
    return readdirSync(this.#mounts.get(id) ?? '');
  }

  async destroy(id: string): Promise<void> {
    await this.#ask({ method: 'destroy', id });
  }

  async remove(reference: string): Promise<void> {
    await this.#ask({ method: 'remove', reference });
  }

  /** One question at a time. */
  #ask(question: Question): Promise<string> {
    const host = this.#host;
    return new Promise((resolve, reject) => {
      if (host === undefined) return reject(new Error('larder-library: not started'));
      const gone = () => reject(new Error('larder-library: the process ended'));
      host.once('exit', gone);
      host.once('message', (answer: Answer) => {
        host.off('exit', gone);
        if (answer.failed === undefined) resolve(answer.value);
        else reject(new Error(`larder-library: ${answer.failed}`));
      });
      host.send(question);
    });
  }
}
