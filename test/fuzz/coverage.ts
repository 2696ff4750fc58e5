/**
 * Which code of larder's was reached, as V8 counts it (inspector, Profiler.takePreciseCoverage): what a guided run keeps
 * inputs by. Native fuzzing engines know more and sooner; this one works wherever Node runs.
 */
import { type Profiler, Session } from 'node:inspector';

const OWN = /\/dist\/src\/(?!testing\/)/;

export class Coverage {
  readonly #session = new Session();
  /** By function: which characters of it were reached. Ranges would not do: neighbours with one count are joined. */
  #seen = new Map<string, Uint8Array>();
  /** Every function that V8 told of, and whether it ever ran: of modules that were loaded behind {@link start}, all. */
  readonly #functions = new Map<string, { readonly name: string; ran: boolean }>();

  start(): void {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Everything is new again. */
  forget(): void {
    this.#seen = new Map();
  }

  /** `file: function` for what never ran, of the files whose path has one of the words in it. */
  unreached(words: readonly string[]): string[] {
    for (const _ of this.#reached());
    return [...this.#functions.values()]
      .filter(({ name, ran }) => !ran && words.some((word) => name.includes(word)))
      .map(({ name }) => name)
      .sort();
  }

  /** Whether anything was reached since the last call that had not been seen before; what was is seen from now on where `keep`. */
  isNew(keep: boolean): boolean {
    let found = false;
    for (const [key, reached] of this.#reached()) {
      const seen = this.#seen.get(key) ?? new Uint8Array(reached.length);
      if (!reached.some((mark, i) => mark > (seen[i] ?? 0))) continue;
      if (!keep) return true;
      found = true;
      this.#seen.set(
        key,
        seen.map((mark, i) => mark | (reached[i] ?? 0)),
      );
    }
    return found;
  }

  /** Characters of code that were reached. */
  get size(): number {
    let size = 0;
    for (const seen of this.#seen.values()) for (const mark of seen) size += mark;
    return size;
  }

  stop(): void {
    this.#session.disconnect();
  }

  *#reached(): Generator<[string, Uint8Array]> {
    let scripts: Profiler.ScriptCoverage[] = [];
    // Answers before it returns: the session is this thread's own.
    this.#session.post('Profiler.takePreciseCoverage', (_, answer) => {
      scripts = answer.result;
    });
    for (const { url, functions } of scripts) {
      if (!OWN.test(url)) continue;
      for (const { functionName, ranges } of functions) {
        const [whole, ...inner] = ranges;
        if (whole === undefined) continue;
        const key = `${url}:${whole.startOffset}`;
        const known = this.#functions.get(key) ?? { name: nameOf(url, functionName), ran: false };
        this.#functions.set(key, known);
        known.ran ||= whole.count > 0;
        if (whole.count === 0) continue;
        const reached = new Uint8Array(whole.endOffset - whole.startOffset).fill(1);
        for (const { startOffset, endOffset, count } of inner) {
          reached.fill(Math.min(1, count), startOffset - whole.startOffset, endOffset - whole.startOffset);
        }
        yield [key, reached];
      }
    }
  }
}

function nameOf(url: string, functionName: string): string {
  return `${url.replace(/^.*\/dist\//, '')}: ${functionName === '' ? '(a function without a name)' : functionName}`;
}
