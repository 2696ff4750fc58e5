/** A program of `resident.ts`, in mount and process id namespaces of its own, as its parent talks to it. */
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Answer, Request } from './resident.js';

const RESIDENT = fileURLToPath(new URL('./resident.js', import.meta.url));

export class Resident implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    this.#ended = once(child, 'close');
    // It may have been killed.
    child.stdin.on('error', () => {});
  }

  /** Of the same owner as all others; in its own namespace it is process 1, as each of them is in its own. */
  static async start(root: string): Promise<Resident> {
    const own = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];
    const flags = JSON.stringify({ root, owner: 'suite' });
    const args = [...own, process.execPath, RESIDENT, flags];
    const resident = new Resident(spawn('unshare', args, { stdio: ['pipe', 'pipe', 'inherit'] }));
    assert.equal(await resident.#line(), 'ready');
    return resident;
  }

  async ask(request: Request): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return JSON.parse(await this.#line()) as Answer;
  }

  async result(request: Request): Promise<unknown> {
    const { result, code } = await this.ask(request);
    assert.equal(code, undefined);
    return result;
  }

  /** With its namespaces and all that is mounted in them. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) assert.fail('it ended');
    return value;
  }
}
