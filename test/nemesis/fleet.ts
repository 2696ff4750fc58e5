/** The processes of a run: started, killed, told to end, started again, counted. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Clocks } from './clocks.js';
import { monotonicMs, randomOf, TERMINATED, type WorkerOptions } from './words.js';
import type { World } from './world.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));
const LOOK_EVERY_MS = 50;
/** From the signal to the end, closing the store included. */
const MAX_ENDING_MS = 60_000;
/** Each process's clock jumps about so often as it dies, times this. */
const JUMPS_PER_DEATH = 3;
const OUTCOME = /"what":"(?:ok|failed)"/g;

export interface FleetOptions {
  readonly processes: number;
  readonly operations: number;
  readonly maxSeconds: number;
  readonly seed: number;
  readonly killEvery: number;
  readonly maxOperationMs: number;
  readonly onProgress?: (operations: number) => void;
  readonly signal?: AbortSignal;
  readonly root: string;
  /** For histories, clocks and what stops them. */
  readonly directory: string;
  readonly world: World;
  readonly clocks: Clocks;
}

export interface FleetResult {
  readonly kills: number;
  /** By SIGTERM or SIGINT. */
  readonly terminated: number;
  readonly slowestEndingMs: number;
  readonly clockJumps: number;
  readonly lives: number;
  readonly violations: readonly string[];
}

interface Running {
  readonly child: ChildProcess;
  /** Bytes of its history when it was started, read or not: what is behind was written by this life. */
  readonly bornAt: number;
  toldToEndMs?: number;
  killed?: true;
}

interface Followed {
  position: number;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #random: (below: number) => number;
  readonly #running = new Map<number, Running>();
  readonly #lives: number[];
  readonly #followed: Followed[];
  readonly #violations: string[] = [];
  #operations = 0;
  #kills = 0;
  #terminated = 0;
  #slowestEndingMs = 0;
  #clockJumps = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#random = randomOf(options.seed + 1);
    this.#lives = Array.from({ length: options.processes }, () => 0);
    this.#followed = this.#lives.map(() => ({ position: 0 }));
  }

  get published(): ReadonlySet<string> {
    return this.#options.world.published;
  }

  histories(): string[] {
    return this.#lives.map((_, i) => this.#historyOf(i));
  }

  async run(): Promise<FleetResult> {
    const { processes, operations, maxSeconds, killEvery, onProgress, signal } = this.#options;
    const untilMs = monotonicMs() + maxSeconds * 1000;
    for (let i = 0; i < processes; i++) this.#start(i);
    let next = this.#soon(killEvery);
    let nextJump = this.#soon(killEvery / JUMPS_PER_DEATH);
    const isDone = (): boolean =>
      this.#operations >= operations ||
      monotonicMs() > untilMs ||
      this.#violations.length > 0 ||
      signal?.aborted === true;
    while (!isDone()) {
      await sleep(LOOK_EVERY_MS);
      this.#count();
      onProgress?.(this.#operations);
      if (this.#operations >= nextJump) nextJump = this.#soon(killEvery / JUMPS_PER_DEATH, () => this.#jump());
      if (this.#operations >= next) next = this.#soon(killEvery, () => this.#strike());
    }
    await this.#end();
    return {
      kills: this.#kills,
      terminated: this.#terminated,
      slowestEndingMs: Math.round(this.#slowestEndingMs),
      clockJumps: this.#clockJumps,
      lives: this.#lives.reduce((sum, lives) => sum + lives, 0),
      violations: this.#violations,
    };
  }

  /** Does it, and answers at how many operations it is to be done again. */
  #soon(every: number, work: () => void = () => {}): number {
    work();
    return this.#operations + every / 2 + this.#random(every);
  }

  #start(i: number): void {
    const { clocks } = this.#options;
    const life = this.#lives[i] ?? 0;
    this.#lives[i] = life + 1;
    const [program = '', ...args] = [
      ...namespacesOf(i),
      process.execPath,
      WORKER,
      JSON.stringify(this.#optionsOf(i, life)),
    ];
    const env = { ...process.env, ...clocks.environmentOf(i) };
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
    const running: Running = { child, bornAt: statSync(this.#historyOf(i), { throwIfNoEntry: false })?.size ?? 0 };
    this.#running.set(i, running);
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('close', (code, signal) => {
      this.#running.delete(i);
      if (running.toldToEndMs !== undefined)
        this.#slowestEndingMs = Math.max(this.#slowestEndingMs, monotonicMs() - running.toldToEndMs);
      // unshare(1) does not always end as the program did that it waits for.
      const asMeant = signal === 'SIGKILL' || code === TERMINATED || running.killed === true;
      if (asMeant && !existsSync(this.#stop)) this.#start(i);
      else if (code !== 0 && !asMeant) this.#violations.push(`worker ${i} ended with ${code ?? signal}: ${stderr}`);
    });
  }

  #optionsOf(i: number, life: number): WorkerOptions {
    const { root, seed, world } = this.#options;
    return {
      root,
      worker: `w${i}`,
      life,
      seed: seed * 100_000 + i * 1000 + life,
      references: world.references,
      acis: world.acis,
      history: this.#historyOf(i),
      stop: this.#stop,
    };
  }

  /** Two in three are killed, the others told to end; an image's name moves. */
  #strike(): void {
    const { world } = this.#options;
    world.publish();
    const victims = [...this.#running].filter(([, { toldToEndMs }]) => toldToEndMs === undefined);
    const [i, victim] = victims[this.#random(Math.max(1, victims.length))] ?? [];
    if (i === undefined || victim === undefined) return;
    const pid = programOf(victim.child);
    // One that has not begun yet has not said either what it does when it is told to end.
    const isAtWork = (this.#followed[i]?.position ?? 0) > victim.bornAt;
    const signal = isAtWork ? (['SIGKILL', 'SIGKILL', 'SIGTERM', 'SIGINT'] as const)[this.#random(4)] : 'SIGKILL';
    if (pid === undefined || signal === undefined) return;
    if (signal !== 'SIGKILL') victim.toldToEndMs = monotonicMs();
    try {
      process.kill(pid, signal);
      if (signal === 'SIGKILL') {
        victim.killed = true;
        this.#kills++;
      } else this.#terminated++;
    } catch {
      // It has just ended.
    }
  }

  #jump(): void {
    if (!this.#options.clocks.canJump) return;
    this.#options.clocks.jump(this.#random(this.#options.processes), this.#random);
    this.#clockJumps++;
  }

  /** Adds what has been written since the last time; and finds who does not end. */
  #count(): void {
    for (const [i, followed] of this.#followed.entries()) {
      const text = tailOf(this.#historyOf(i), followed);
      this.#operations += text.match(OUTCOME)?.length ?? 0;
    }
    for (const [i, { toldToEndMs = Number.POSITIVE_INFINITY }] of this.#running) {
      if (monotonicMs() - toldToEndMs > MAX_ENDING_MS) this.#violations.push(`worker ${i} was told to end and did not`);
    }
  }

  /** Who hangs now hangs forever. */
  async #end(): Promise<void> {
    writeFileSync(this.#stop, '');
    const giveUpMs = monotonicMs() + this.#options.maxOperationMs;
    while (this.#running.size > 0 && monotonicMs() < giveUpMs) await sleep(LOOK_EVERY_MS);
    for (const [i, { child }] of this.#running) {
      this.#violations.push(`worker ${i} did not end`);
      process.kill(programOf(child) ?? 0, 'SIGKILL');
    }
    while (this.#running.size > 0) await sleep(LOOK_EVERY_MS);
  }

  get #stop(): string {
    return join(this.#options.directory, 'stop');
  }

  #historyOf(i: number): string {
    return join(this.#options.directory, `history-${i}`);
  }
}

/**
 * Every third sees mounts of its own, which go when it is killed: to its next life that is a reboot. Every sixth is also
 * the first process of its own: all its lives have the same process id.
 */
function namespacesOf(i: number): readonly string[] {
  if (i % 3 !== 2) return [];
  const own = ['unshare', '--mount', '--propagation', 'private'];
  return i % 6 === 5 ? [...own, '--pid', '--fork', '--kill-child', '--mount-proc'] : own;
}

/** Itself, or what it waits for. Undefined when it has not come so far. */
function programOf({ pid, spawnargs }: ChildProcess): number | undefined {
  if (pid === undefined || !spawnargs.includes('--fork')) return pid;
  try {
    return (
      Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0] || Number.NaN) || undefined
    );
  } catch {
    return undefined;
  }
}

function tailOf(path: string, followed: Followed): string {
  if (!existsSync(path)) return '';
  const fd = openSync(path, 'r');
  try {
    const pieces: Buffer[] = [];
    for (;;) {
      const piece = Buffer.alloc(64 * 1024);
      const read = readSync(fd, piece, 0, piece.length, followed.position);
      if (read === 0) return Buffer.concat(pieces).toString('latin1');
      // A line that is only half there is read again.
      const whole = piece.subarray(0, read).lastIndexOf(10) + 1;
      if (whole === 0) return Buffer.concat(pieces).toString('latin1');
      pieces.push(piece.subarray(0, whole));
      followed.position += whole;
    }
  } finally {
    closeSync(fd);
  }
}
