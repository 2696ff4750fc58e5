/** Runs `run.ts` in a mount namespace of its own, with which all that it mounted goes, whatever ends it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { compileMutant, type Mutant } from './mutants.js';
import type { RunOptions, RunReport } from './run.js';

export type PowerOptions = Omit<RunOptions, 'directory' | 'code' | 'since' | 'untilFault'>;

const RUN = fileURLToPath(new URL('run.js', import.meta.url));
/** Of a mutant, so many states at the most. */
const MUTANT_STATES = 250;

/** `tell` hears of progress and faults as they come. */
export async function runPower(options: PowerOptions, tell: (line: string) => void = () => {}): Promise<RunReport> {
  return inDirectory((directory) => start({ ...options, directory, untilFault: false }, tell));
}

/** The first fault that it shows; undefined when it shows none. */
export async function runMutant(mutant: Mutant, options: PowerOptions): Promise<string | undefined> {
  return inDirectory(async (directory) => {
    const code = compileMutant(mutant, join(directory, 'mutant'));
    const { fileSystem } = mutant;
    const since = mutant.since === undefined ? {} : { since: mutant.since };
    const more = { ...since, states: options.states ?? MUTANT_STATES, directory, code, untilFault: true };
    return (await start({ ...options, ...more, fileSystem }, () => {})).faults[0];
  });
}

async function start(options: RunOptions, tell: (line: string) => void): Promise<RunReport> {
  const node = [process.execPath, '--expose-gc', RUN, JSON.stringify(options)];
  const child = spawn('unshare', ['--mount', '--propagation', 'private', ...node], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stderr, report] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  createInterface(child.stdout).on('line', (line) => {
    if (line.startsWith('report ')) report = line.slice('report '.length);
    else tell(line);
  });
  const [status, signal] = await once(child, 'close');
  if (status !== 0 || report === '')
    throw new Error(`${options.fileSystem}: ended with ${status ?? signal}:\n${stderr}`);
  return JSON.parse(report) as RunReport;
}

async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'larder-power-'));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
