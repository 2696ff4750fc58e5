/** A control group with a limit of memory, of version 1 or 2, for processes that are to be killed rather than to have more. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';

export class MemoryGroup implements Disposable {
  readonly path: string;
  readonly #version: 1 | 2;

  constructor(path: string, version: 1 | 2) {
    this.path = path;
    this.#version = version;
  }

  /** Nothing where this process may not make one. */
  static make(limitBytes: number): MemoryGroup | undefined {
    const version = existsSync(join(ROOT, 'cgroup.controllers')) ? 2 : 1;
    const path = join(ROOT, version === 1 ? 'memory' : '', `larder-bounds-${process.pid}`);
    try {
      mkdirSync(path);
      writeFileSync(join(path, version === 1 ? 'memory.limit_in_bytes' : 'memory.max'), String(limitBytes));
      return new MemoryGroup(path, version);
    } catch {
      if (existsSync(path)) rmdirSync(path);
      return undefined;
    }
  }

  /** Processes that the kernel has killed for want of memory. */
  get kills(): number {
    const events = readFileSync(join(this.path, this.#version === 1 ? 'memory.oom_control' : 'memory.events'), 'utf8');
    return Number(/^oom_kill (\d+)/m.exec(events)?.[1]);
  }

  [Symbol.dispose](): void {
    rmdirSync(this.path);
  }
}
