import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { abortedError, errnoOf, LarderError, systemError, throwIfAborted } from '../errors.js';

export interface ProgramOptions {
  /** *what we were doing*: *to which thing*; opens every message. */
  readonly doing: string;
  /** Nothing of ours goes along but this. Default: `LANG=C` and the system's own PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** What the program reads. Default: nothing. */
  readonly input?: string;
  /** Of what the program says, the first bytes are kept; what follows is read and dropped. Default 64 KiB each. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ProgramResult {
  /** Exit status; undefined when a signal ended it. */
  readonly status: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_MAX_OUTPUT = 64 * 1024;
/** A program that hangs in the kernel must not hold its caller, too. */
const KILLED_WAIT_MS = 5_000;

/** The absolute path of an executable file in the absolute directories of `path`, or undefined. */
export async function findProgram(name: string, path = SYSTEM_PATH): Promise<string | undefined> {
  for (const directory of path.split(delimiter)) {
    // An empty or relative entry would run what lies in whatever directory we stand.
    if (!isAbsolute(directory)) continue;
    const candidate = join(directory, name);
    if (await isExecutableFile(candidate)) return candidate;
  }
  return undefined;
}

export async function isExecutableFile(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/**
 * Runs a program of the host to its end, without a shell, in `/`, with the environment that is given and
 * no other. It and its children are killed when the time is up or the signal aborts. An exit status is a result, not an
 * error. Rejects with LARDER_TIMEOUT, LARDER_ABORTED, or as `systemError` when it cannot be started.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramResult> {
  const { doing, timeoutMs, signal } = options;
  throwIfAborted(signal, doing);
  if (!isAbsolute(program)) throw new LarderError('LARDER_INTERNAL', `${doing}: ${program}: not an absolute path`);
  const child = spawn(program, args, {
    cwd: '/',
    env: { PATH: SYSTEM_PATH, LANG: 'C', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    // A group of its own, so that its children end with it.
    detached: true,
  });
  const maxBytes = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT;
  // A program need not read to the end what it is told.
  child.stdin?.on('error', () => {});
  child.stdin?.end(options.input);
  const stdout = collect(child, 'stdout', maxBytes);
  const stderr = collect(child, 'stderr', maxBytes);
  return new Promise<ProgramResult>((resolve, reject) => {
    let failure: LarderError | undefined;
    let late: NodeJS.Timeout | undefined;
    const settle = (): void => {
      clearTimeout(timer);
      clearTimeout(late);
      signal?.removeEventListener('abort', onAbort);
      if (failure !== undefined) reject(failure);
      else resolve({ ...howItEnded(child), stdout: stdout(), stderr: stderr() });
    };
    const giveUp = (error: LarderError): void => {
      failure ??= error;
      killGroup(child);
      late ??= setTimeout(settle, KILLED_WAIT_MS);
    };
    const timer = setTimeout(() => {
      const said = lastLine(stderr());
      const why = `${program} did not end within ${timeoutMs} ms${said === '' ? '' : ` (it said: ${said})`}`;
      giveUp(new LarderError('LARDER_TIMEOUT', `${doing}: ${why}`));
    }, timeoutMs);
    const onAbort = (): void => giveUp(abortedError(doing, signal));
    signal?.addEventListener('abort', onAbort, { once: true });
    child.once('error', (error) => {
      failure ??= systemError(`${doing}: run ${program}`, error);
      // Only a program that was never started says nothing more.
      if (child.pid === undefined) settle();
    });
    child.once('close', settle);
  });
}

function howItEnded({ exitCode, signalCode }: ChildProcess): Pick<ProgramResult, 'status' | 'signal'> {
  return { status: exitCode ?? undefined, signal: signalCode ?? undefined };
}

/** The last line that says something, for messages. */
export function lastLine(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return (lines.at(-1) ?? '').trim().slice(0, 300);
}

function collect(child: ChildProcess, name: 'stdout' | 'stderr', maxBytes: number): () => string {
  const chunks: Buffer[] = [];
  let length = 0;
  child[name]?.on('data', (chunk: Buffer) => {
    if (length < maxBytes) chunks.push(chunk.subarray(0, maxBytes - length));
    length += chunk.length;
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    // It has ended in this moment.
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
