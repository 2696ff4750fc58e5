/**
 * Which blocks of larder's code were reached, as V8 counts them (inspector, Profiler.takePreciseCoverage): what a guided
 * run keeps inputs by. Native fuzzing engines know more and sooner; this one works wherever Node runs.
 */
import { type Profiler, Session } from 'node:inspector';

const OWN = /\/dist\/src\/(?!testing\/)/;

export class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  start(): void {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Whether anything was reached since the last call that had not been seen before; what was is seen from now on where `keep`. */
  isNew(keep: boolean): boolean {
    let found = false;
    for (const key of this.#reached()) {
      if (this.#seen.has(key)) continue;
      found = true;
      if (!keep) return true;
      this.#seen.add(key);
    }
    return found;
  }

  get size(): number {
    return this.#seen.size;
  }

  stop(): void {
    this.#session.disconnect();
  }

  *#reached(): Generator<string> {
    let scripts: Profiler.ScriptCoverage[] = [];
    // Answers before it returns: the session is this thread's own.
    this.#session.post('Profiler.takePreciseCoverage', (_, answer) => {
      scripts = answer.result;
    });
    for (const { url, functions } of scripts) {
      if (!OWN.test(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          // How often does not count: a batch of inputs must not look newer than each of them.
          if (count > 0) yield `${url}:${startOffset}-${endOffset}`;
        }
      }
    }
  }
}
