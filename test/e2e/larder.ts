/** The command in a process of its own, over a store that is thrown away with all its mounts. */
import { type ExecFileOptions, execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../checkout.js';
import { openToOthers } from '../helpers/open-checkout.js';

const LARDER = join(CHECKOUT, 'bin', 'larder.js');

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Run as this user and group. */
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
}

export class TestStore {
  readonly directory: string;
  readonly root: string;

  /** `directory` is emptied and removed by {@link dispose}. */
  constructor(directory = mkdtempSync(join(tmpdir(), 'larder-e2e-'))) {
    this.directory = directory;
    this.root = join(directory, 'store');
  }

  /** Runs `larder --root STORE ARGS…`, whatever its exit status. */
  run(args: readonly string[], { uid, env }: RunOptions = {}): Promise<Outcome> {
    const of = (file: string): string => (uid === undefined ? file : openToOthers(file));
    const options = {
      ...(uid === undefined ? {} : { uid, gid: uid }),
      env: { PATH: process.env['PATH'], HOME: this.directory, ...env },
    };
    const bin = of(join(CHECKOUT, 'bin', 'larder.js'));
    return runProgram(of(process.execPath), [bin, '--root', this.root, ...args], options);
  }

  /** Standard output without the last line end; throws unless the command ends with 0. */
  async ok(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(args);
    if (status !== 0) throw new Error(`larder ${args.join(' ')}: exit ${status}\n${stderr}${stdout}`);
    return stdout.replace(/\n$/, '');
  }

  /** Starts a command and ends it with SIGKILL after a while, if it still runs. */
  async kill(args: readonly string[], afterMs: number): Promise<void> {
    const child = spawn(process.execPath, [LARDER, '--root', this.root, ...args], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], HOME: this.directory },
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
    await ended;
    clearTimeout(timer);
  }

  /** What lies in one of the store's folders, which may be absent. */
  list(...path: readonly string[]): string[] {
    try {
      return readdirSync(join(this.root, ...path)).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /** Mount points in the store. */
  mounts(): string[] {
    return mountsBelow(this.root);
  }

  dispose(): void {
    for (const mount of mountsBelow(this.directory).reverse()) spawnSync('umount', ['-l', mount]);
    const left = mountsBelow(this.directory);
    if (left.length > 0) throw new Error(`${left.join(', ')}: still mounted, nothing is removed`);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Mount points below a directory, in the order of the mounts. */
export function mountsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    )
    .filter((path) => path.startsWith(`${directory}/`));
}

function runProgram(program: string, args: readonly string[], options: ExecFileOptions): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const limits = { maxBuffer: 1 << 26, timeout: 300_000, cwd: '/', encoding: 'utf8' } as const;
    const child = execFile(program, [...args], { ...options, ...limits }, (error, stdout, stderr) => {
      const status = error === null ? 0 : error.code;
      if (typeof status === 'number') resolve({ status, stdout, stderr });
      else reject(new Error(`${args.join(' ')}: ${error?.message}`));
    });
    child.stdin?.end();
  });
}
