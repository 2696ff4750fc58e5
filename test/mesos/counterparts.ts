/** Where larder answers a test or a flaw of Mesos: by a test that has this in its title, or by what SCOPE.md says of it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../checkout.js';

export interface Counterpart {
  /** Below the checkout. */
  readonly file: string;
  /** A piece of the test's title as it stands in the source; `…` where the source puts a value in. */
  readonly title: string;
}

/** Words that SCOPE.md has, whatever its lines are. */
export interface OutOfScope {
  readonly scope: string;
}

export type Answer = readonly (Counterpart | OutOfScope)[];

/** Tests of one file, by pieces of their titles. */
export function tests(file: string, ...titles: readonly string[]): Counterpart[] {
  return titles.map((title) => ({ file, title }));
}

export function scope(words: string): OutOfScope {
  return { scope: words };
}

/** What is wrong with an answer; nothing when all that it names is there. */
export function problemsOf(answer: Answer): string[] {
  if (answer.length === 0) return ['no answer'];
  return answer.flatMap((part) => {
    if ('scope' in part) return hasWords(read('SCOPE.md'), part.scope) ? [] : [`SCOPE.md does not say: ${part.scope}`];
    if (titlesOf(part.file).some((title) => title.includes(part.title))) return [];
    return [`${part.file} has no test with this in its title: ${part.title}`];
  });
}

/** Whether a text has these words in this order, wherever its lines end. */
export function hasWords(text: string, words: string): boolean {
  const plain = (some: string): string => some.replaceAll(/\s+/g, ' ');
  return plain(text).includes(plain(words));
}

const titles = new Map<string, readonly string[]>();

/** Texts in a source that stand where titles stand: first argument of a call, key of a table of cases, first of a tuple. */
export function titlesIn(source: string): string[] {
  const withoutComments = source.replaceAll(/^\s*(?:\/\/|\/?\*).*$/gm, '');
  const literal = /(?:[([{,]\s*)(['"`])((?:\\.|(?!\1)[^\\])*)\1\s*[,:]/g;
  const found: string[] = [];
  for (let match = literal.exec(withoutComments); match !== null; match = literal.exec(withoutComments)) {
    found.push((match[2] ?? '').replaceAll(/\\(['"`\\])/g, '$1').replaceAll(/\$\{.*?\}/g, '…'));
    // What ends one literal may begin the next.
    literal.lastIndex -= 1;
  }
  return found;
}

function titlesOf(file: string): readonly string[] {
  const known = titles.get(file) ?? titlesIn(read(file));
  titles.set(file, known);
  return known;
}

export function read(path: string): string {
  return readFileSync(join(CHECKOUT, path), 'utf8');
}
