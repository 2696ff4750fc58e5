/**
 * The merged tree said again in the plainest way: objects, maps and strings, one layer extracted onto the other.
 * What `mergeLayers` does with columns, hashes and marks must show the same tree.
 */
import { ENTRY } from '../../src/tar/entry.js';
import type { Line } from './entries.js';

interface Node {
  letter: string;
  /** What `show` prints after the letter. */
  about: string;
  link: string;
  /** Directories only. */
  children: Map<string, Node> | undefined;
}

interface Step {
  name: string;
  /** Undefined where a directory has still to be made. */
  node: Node | undefined;
}

/** An entry that makes the image invalid. */
export class BadEntry extends Error {
  readonly layer: number;
  readonly entry: number;

  constructor(layer: number, entry: number) {
    super(`layer ${layer}, entry ${entry}`);
    this.layer = layer;
    this.entry = entry;
  }
}

const LETTERS: Record<number, string> = {
  [ENTRY.file]: 'f',
  [ENTRY.character]: 'c',
  [ENTRY.block]: 'b',
  [ENTRY.fifo]: 'p',
};

export function modelTree(layers: readonly (readonly Line[])[]): string[] {
  const model = new Model();
  for (const [k, lines] of layers.entries()) model.applyLayer(k, lines);
  return model.show();
}

class Model {
  readonly #root: Node = implied();

  applyLayer(layer: number, lines: readonly Line[]): void {
    this.#applyMarks(lines);
    for (const [i, line] of lines.entries()) {
      if (isMark(line)) continue;
      try {
        this.#applyEntry(line);
      } catch {
        throw new BadEntry(layer, i);
      }
    }
  }

  show(): string[] {
    const shown: string[] = [];
    const first = new Map<Node, string>();
    const walk = (node: Node, path: string): void => {
      let line = `${path === '' ? '/' : path} ${node.letter} ${node.about}`;
      if (node.children === undefined) {
        const known = first.get(node);
        if (known === undefined) first.set(node, path);
        else line += ` =${known}`;
      }
      shown.push(line);
      for (const name of [...(node.children?.keys() ?? [])].sort()) {
        walk(child(node, name) as Node, path === '' ? name : `${path}/${name}`);
      }
    };
    walk(this.#root, '');
    return shown;
  }

  #applyMarks(lines: readonly Line[]): void {
    const doings: (() => void)[] = [];
    const emptyings: (() => void)[] = [];
    const own = ownLines(lines);
    for (const line of lines) {
      if (!isMark(line)) continue;
      const parts = line.path.split('/');
      const base = parts.pop() ?? '';
      const directory = this.#look(parts, own);
      if (directory?.children === undefined) continue;
      const name = base.slice(4);
      if (base !== '.wh..wh..opq') doings.push(() => directory.children?.delete(name));
      else emptyings.push(() => directory.children?.clear());
    }
    for (const doing of [...doings, ...emptyings]) doing();
  }

  #applyEntry(line: Line): void {
    const parts = line.path.split('/').filter((part) => part !== '' && part !== '.');
    const name = parts.pop();
    if (name === undefined) {
      describe(this.#root, line);
      return;
    }
    const directory = this.#make(parts);
    const old = child(directory, name);
    if (line.type === ENTRY.directory && old?.children !== undefined) {
      describe(old, line);
      return;
    }
    if (line.type !== ENTRY.hardlink) {
      directory.children?.set(name, nodeOf(line));
      return;
    }
    if (old?.children !== undefined) directory.children?.delete(name);
    const target = (line.link ?? '').split('/').filter((part) => part !== '');
    const last = target.pop() ?? '';
    const holder = this.#look(target, NOTHING);
    const linked = holder && child(holder, last);
    if (linked === undefined || linked.children !== undefined) throw new Error('bad target');
    directory.children?.set(name, linked);
  }

  #look(parts: string[], own: Map<string, Line>): Node | undefined {
    const steps = this.#walk(parts, own);
    return steps === undefined || steps.some(({ node }) => node === undefined)
      ? undefined
      : (steps.at(-1)?.node ?? this.#root);
  }

  #make(parts: string[]): Node {
    let node = this.#root;
    for (const step of this.#walk(parts, undefined) ?? []) {
      const next = step.node ?? implied();
      node.children?.set(step.name, next);
      node = next;
    }
    return node;
  }

  /** The way to a directory. With `own`, undefined where something of the layer itself stands in the way. */
  #walk(parts: string[], own: Map<string, Line> | undefined): Step[] | undefined {
    let steps: Step[] = [];
    let pending = parts.map((name, k) => ({ name, path: parts.slice(0, k + 1).join('/') }));
    for (let links = 0; ; ) {
      const next = pending.shift();
      if (next === undefined) return steps;
      if (next.name === '' || next.name === '.') continue;
      if (next.name === '..') {
        steps.pop();
        continue;
      }
      const here = steps.length === 0 ? this.#root : steps.at(-1)?.node;
      const node = here && child(here, next.name);
      if (node?.letter !== 'l') {
        if (own !== undefined && node?.children === undefined) return undefined;
        steps.push({ name: next.name, node: node?.children === undefined ? undefined : node });
        continue;
      }
      if (++links > 40) {
        if (own !== undefined && own !== NOTHING) return undefined;
        throw new Error('loop');
      }
      const real = [...steps.map(({ name }) => name), next.name].join('/');
      const mine = own?.get(real) ?? own?.get(next.path);
      if (mine !== undefined && mine.type !== ENTRY.symlink) return undefined;
      const link = mine?.link ?? node.link;
      if (link.startsWith('/')) steps = [];
      pending = [...link.split('/').map((name) => ({ name, path: '' })), ...pending];
    }
  }
}

/** Stands for "a lookup that is not about a whiteout". */
const NOTHING = new Map<string, Line>();

/** The last entry of the layer at each path; a whiteout counts where there is nothing else. */
function ownLines(lines: readonly Line[]): Map<string, Line> {
  const own = new Map<string, Line>();
  for (const line of lines) {
    if (isMark(line) && !line.path.endsWith('.wh..wh..opq'))
      own.set(line.path.replace(/(^|\/)\.wh\.([^/]*)$/, '$1$2'), { ...line, type: ENTRY.file });
  }
  for (const line of lines) if (!isMark(line)) own.set(line.path, line);
  return own;
}

function isMark(line: Line): boolean {
  return /(^|\/)\.wh\.[^/]*$/.test(line.path);
}

function child(node: Node, name: string): Node | undefined {
  return node.children?.get(name);
}

function implied(): Node {
  return { letter: 'd', about: 'implied', link: '', children: new Map() };
}

function describe(node: Node, line: Line): void {
  node.about = (line.mode ?? 0).toString(8);
}

function nodeOf(line: Line): Node {
  if (line.type === ENTRY.directory) return { ...implied(), about: (line.mode ?? 0).toString(8) };
  const link = line.link ?? '';
  if (line.type === ENTRY.symlink) return { letter: 'l', about: link, link, children: undefined };
  return {
    letter: LETTERS[line.type ?? ENTRY.file] ?? '?',
    about: String(line.uid ?? 0),
    link: '',
    children: undefined,
  };
}
