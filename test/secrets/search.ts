/** Looks for secrets, in every form in which they could be written down. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../src/errors.js';

export class Search {
  readonly #forms = new Map<string, readonly Buffer[]>();
  readonly #found = new Set<string>();
  #bytes = 0;

  /** `user` is who logs in with it; its Basic form is looked for, too. */
  add(name: string, secret: string, user = 'me'): void {
    // At each of the three places at which base64 of a longer text can have it, without what depends on its neighbours.
    const inside = ['', 'x', 'xx'].map((before) =>
      Buffer.from(before + secret)
        .toString('base64')
        .slice(before.length === 0 ? 0 : 4, -4),
    );
    const basic = Buffer.from(`${user}:${secret}`).toString('base64');
    const texts = [secret, basic, ...inside, Buffer.from(secret).toString('hex'), encodeURIComponent(secret)];
    this.#forms.set(
      name,
      [...new Set(texts)].map((text) => Buffer.from(text)),
    );
  }

  /** `secret: where`, each once. */
  get found(): readonly string[] {
    return [...this.#found];
  }

  /** How much was looked through. */
  get bytes(): number {
    return this.#bytes;
  }

  in(where: string, what: Uint8Array | string): void {
    const bytes = Buffer.from(what);
    this.#bytes += bytes.length;
    for (const [name, forms] of this.#forms) {
      if (forms.some((form) => bytes.includes(form))) this.#found.add(`${name}: ${where}`);
    }
  }

  /** Names, links and bytes of all files, as they are at this moment. */
  inFilesBelow(root: string): void {
    for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
      this.in('a file’s name', name);
      const path = join(root, name);
      const read = (): void => {
        const found = lstatSync(path);
        if (found.isFile()) this.in(`file: ${name}`, readFileSync(path));
        else if (found.isSymbolicLink()) this.in(`file: ${name}`, readlinkSync(path));
      };
      ignoringGone(read);
    }
  }

  /**
   * What other processes see of this one and of those that it has started. Variables that the user has set for it
   * (`given`) are his.
   */
  inProcess(pid: number, given: Readonly<Record<string, string | undefined>>): void {
    for (const one of [pid, ...descendantsOf(pid)]) {
      ignoringGone(() => {
        this.in('/proc: cmdline', readFileSync(`/proc/${one}/cmdline`));
        this.in('/proc: environ', ownVariables(readFileSync(`/proc/${one}/environ`, 'latin1'), given));
        for (const task of readdirSync(`/proc/${one}/task`)) {
          this.in('/proc: a thread’s name', readFileSync(`/proc/${one}/task/${task}/comm`));
        }
      });
    }
  }
}

export function ownVariables(environ: string, given: Readonly<Record<string, string | undefined>>): string {
  const theirs = new Set(Object.entries(given).map(([name, value]) => `${name}=${value}`));
  return environ
    .split('\0')
    .filter((one) => !theirs.has(one))
    .join('\0');
}

function descendantsOf(pid: number): number[] {
  const children: number[] = [];
  ignoringGone(() => {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const text = readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim();
      if (text !== '') children.push(...text.split(' ').map(Number));
    }
  });
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

/** Files and processes come and go. */
function ignoringGone(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!['ENOENT', 'ESRCH', 'ENOTDIR'].includes(errnoOf(error) ?? '')) throw error;
  }
}
