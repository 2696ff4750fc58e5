import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ended, type ProcessGroup } from './process-group.js';

/** A daemon of a tool: in the tool's group, its words in a file. */
export class Daemon {
  readonly #group: ProcessGroup;
  readonly #log: string;
  #child: ChildProcess | undefined;

  constructor(group: ProcessGroup, log: string) {
    this.#group = group;
    this.#log = log;
  }

  start(program: string, args: readonly string[]): void {
    const log = openSync(this.#log, 'a');
    this.#child = this.#group.spawn(program, args, ['ignore', log, log]);
    closeSync(log);
  }

  /** Asks it to end, and makes it end after half a minute. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const end = ended(child);
    child.kill();
    const waiting = new AbortController();
    const late = sleep(30_000, 'late', { signal: waiting.signal }).catch(() => 'ended');
    if ((await Promise.race([end, late])) === 'late') child.kill('SIGKILL');
    waiting.abort();
    await end;
  }
}
