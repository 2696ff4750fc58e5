/** A daemon in a process of its own, over a store that is thrown away, and words to ask it in. */
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DaemonClient } from '../../src/daemon/client.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { type Child, type Ended, startNode } from './child.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const MAIN = fileURLToPath(new URL('./larder-main.js', import.meta.url));

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface Question {
  readonly method?: string;
  readonly body?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** A socket's path, or a port. */
export type Place = string | { readonly host: string; readonly port: number };

export class DaemonHome {
  readonly directory = makeDirectory();
  readonly root = join(this.directory, 'store');
  readonly socket = join(this.directory, 'run', 'larder.sock');
  readonly client = new DaemonClient(this.socket);
  readonly #started: Child[] = [];

  /** Resolves when it serves. */
  async start(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Child> {
    const child = this.larder(['daemon', ...args], env);
    this.#started.push(child);
    let said = '';
    child.process.stderr?.on('data', (text: string) => {
      said += text;
    });
    await Promise.race([
      until(() => said.includes('larder: serves '), 'the daemon serves'),
      child.ended.then(({ status, stderr }) => {
        throw new Error(`the daemon ended: ${status}\n${stderr}`);
      }),
    ]);
    return child;
  }

  /** `larder --root … --socket … ARGS`. */
  larder(args: readonly string[], env: NodeJS.ProcessEnv = {}): Child {
    return this.bare(['--root', this.root, '--socket', this.socket, ...args], env);
  }

  bare(args: readonly string[], env: NodeJS.ProcessEnv = {}): Child {
    return startNode(MAIN, args, { cwd: '/', env: { PATH: process.env['PATH'], HOME: this.directory, ...env } });
  }

  ask(path: string, question: Question = {}): Promise<Answer> {
    return ask(this.socket, path, question);
  }

  async dispose(): Promise<void> {
    for (const child of this.#started) {
      child.kill('SIGKILL');
      await child.ended;
    }
    removeDirectory(this.directory);
  }
}

/** Asks it to end, and waits for that. */
export async function end(child: Child, signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
  child.kill(signal);
  return child.ended;
}

export function ask(place: Place, path: string, question: Question = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = question.body === undefined ? 'GET' : 'POST', body, signal } = question;
    const where = typeof place === 'string' ? { socketPath: place } : place;
    const headers = { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...question.headers };
    const outgoing = request(
      { ...where, path, method, headers, agent: false, ...(signal && { signal }) },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => {
          text += piece;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** The code of the error in a plain answer, or in the last line of a long one. */
export function codeIn({ body }: Answer): string | undefined {
  const last: { error?: { code: string } } = JSON.parse(body.trim().split('\n').at(-1) ?? '');
  return last.error?.code;
}
