/** Programs of this checkout for other users, also where they cannot enter it: below /root, or made with a strict umask. */
import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { CHECKOUT } from '../checkout.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const NEEDED = ['bin', 'dist', 'node_modules', 'package.json'];

let open: string | undefined;

/** The same file by a path that every user can follow: in a copy of the checkout where it lies in that and that is closed. */
export function openToOthers(file: string): string {
  if (!file.startsWith(`${CHECKOUT}/`)) return file;
  open ??= isOpen(dirname(file)) ? CHECKOUT : copyOfCheckout();
  return join(open, relative(CHECKOUT, file));
}

function isOpen(directory: string): boolean {
  const mayEnter = (lstatSync(directory).mode & 0o001) !== 0;
  return mayEnter && (directory === '/' || isOpen(dirname(directory)));
}

function copyOfCheckout(): string {
  const directory = makeDirectory();
  process.once('exit', () => removeDirectory(directory));
  execFileSync('cp', ['-rH', ...NEEDED.map((name) => join(CHECKOUT, name)), directory]);
  execFileSync('chmod', ['-R', 'go+rX', directory]);
  chmodSync(directory, 0o755);
  return directory;
}
