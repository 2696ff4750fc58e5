/** The command in a process of its own, over a store that is thrown away with all its mounts. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../checkout.js';

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
  run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return runNode([join(CHECKOUT, 'bin', 'larder.js'), '--root', this.root, ...args], {
      ...options,
      env: { HOME: this.directory, ...options.env },
    });
  }

  /** Standard output without the last line end; throws unless the command ends with 0. */
  async ok(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(args);
    if (status !== 0) throw new Error(`larder ${args.join(' ')}: exit ${status}\n${stderr}${stdout}`);
    return stdout.replace(/\n$/, '');
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

  mounts(): string[] {
    return mountsBelow(this.directory);
  }

  dispose(): void {
    for (const mount of this.mounts().reverse()) spawnSync('umount', ['-l', mount]);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
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

function runNode(args: readonly string[], { uid, env }: RunOptions): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const who = uid === undefined ? {} : { uid, gid: uid };
    const options = {
      ...who,
      env: { PATH: process.env['PATH'], ...env },
      maxBuffer: 1 << 26,
      timeout: 300_000,
      cwd: '/',
    };
    const child = execFile(process.execPath, [...args], options, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number')
        return reject(new Error(`${args.join(' ')}: ${error.message}`));
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
    child.stdin?.end();
  });
}
