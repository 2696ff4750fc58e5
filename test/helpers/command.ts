/** bin/larder.js in a process of its own, over a store that is thrown away with the home directory beside it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CHECKOUT } from '../checkout.js';
import { type Child, type ChildOptions, type Ended, start, startNode } from './child.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const BIN = join(CHECKOUT, 'bin', 'larder.js');

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** False leaves `--root` out. */
  readonly root?: boolean;
}

export class CommandHome {
  readonly directory = makeDirectory();
  readonly root = join(this.directory, 'store');

  start(args: readonly string[], { env, input, root = true }: CommandOptions = {}): Child {
    const options: ChildOptions = { cwd: '/', env: this.environment(env), ...(input === undefined ? {} : { input }) };
    return startNode(BIN, [...(root ? ['--root', this.root] : []), ...args], options);
  }

  /** Another program in the same place. */
  startProgram(program: string, args: readonly string[]): Child {
    return start(program, args, { cwd: '/', env: this.environment() });
  }

  run(args: readonly string[], options: CommandOptions = {}): Promise<Ended> {
    return this.start(args, options).ended;
  }

  /** Standard output without the last line end; throws unless the command ends with 0. */
  async ok(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(args);
    if (status !== 0) throw new Error(`larder ${args.join(' ')}: ${status}\n${stderr}${stdout}`);
    return stdout.replace(/\n$/, '');
  }

  environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    return { PATH: process.env['PATH'], HOME: this.directory, ...more };
  }

  /** Below the home directory. */
  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.directory, path)), { recursive: true });
    writeFileSync(join(this.directory, path), text);
  }

  dispose(): void {
    removeDirectory(this.directory);
  }
}

export const BIN_PATH = BIN;
