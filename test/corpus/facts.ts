import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { getXattr } from '../../src/linux/xattr.js';
import type { Fact, LayerCase } from './case.js';

/** What of a case's tree is not as it says, one line each. `VICTIM` stands for the victim's path, inside the root too. */
export function wrongFacts(root: string, tree: LayerCase['tree'] = {}, victim: string): string[] {
  const here = (text: string) => text.replaceAll(/\bVICTIM\b/g, victim);
  return Object.entries(tree).flatMap(([path, facts]) =>
    [facts].flat().flatMap((fact) => {
      const wrong = wrongFact(root, here(path), here(fact));
      return wrong === undefined ? [] : [`/${path}: ${fact}: ${wrong}`];
    }),
  );
}

function wrongFact(root: string, path: string, fact: Fact): string | undefined {
  const [word = ''] = fact.split(' ', 1);
  const value = fact.slice(word.length + 1);
  const full = join(root, path);
  const stats = lstatSync(full, { throwIfNoEntry: false });
  if (word === 'missing') return stats === undefined ? undefined : 'is there';
  if (stats === undefined) return 'is missing';
  const found = ((): string | boolean => {
    switch (word) {
      case 'dir':
        return stats.isDirectory();
      case 'char':
        return stats.isCharacterDevice();
      case 'block':
        return stats.isBlockDevice();
      case 'fifo':
        return stats.isFIFO();
      case 'file':
        return stats.isFile() && readFileSync(full, 'utf8');
      case 'link':
        return stats.isSymbolicLink() && readlinkSync(full);
      case 'as':
        return lstatSync(join(root, value)).ino === stats.ino;
      case 'mode':
        return (stats.mode & 0o7777).toString(8);
      case 'owner':
        return `${stats.uid}:${stats.gid}`;
      case 'mtime':
        return String(Math.floor(stats.mtimeMs / 1000));
      case 'no':
        return getXattr(full, value) === undefined;
      case 'xattr': {
        const [name = ''] = value.split('=', 1);
        return `${name}=${Buffer.from(getXattr(full, name) ?? []).toString('hex')}`;
      }
      default:
        throw new Error(`${fact}: no such fact`);
    }
  })();
  return found === true || found === value ? undefined : `is ${found}`;
}
