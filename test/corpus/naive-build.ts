/**
 * larder without its own checks of names: a copy of what was built, in which every name of an archive goes to the kernel
 * as it is written there, relative to the root: with slashes, `..` and whatever symbolic links lie on the way; nothing is
 * created exclusively, metadata follows links, hardlinks name their targets. An extractor as naive as can be.
 */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../checkout.js';

type Change = readonly [find: string, replace: string];

const CHECKS: Readonly<Record<string, readonly Change[]>> = {
  'tree/clean-path.js': [
    [
      'appendPath(raw, what) {',
      `appendPath(raw, what) {
        const whole = raw.at(-1) === SLASH ? raw.subarray(0, -1) : raw;
        this.lastComponent = this.length;
        if (whole.length !== 1 || whole[0] !== DOT) this.appendRaw(whole.map((byte) => (byte === SLASH ? 1 : byte)));
        return;`,
    ],
  ],
  'tree/index-builder.js': [
    [
      'entry(entry) {',
      `entry(entry) {
        if (entry.type === KIND.hardlink)
          entry = { ...entry, path: entry.path, type: KIND.symlink, link: Buffer.concat([Buffer.of(2), entry.link]) };`,
    ],
  ],
  'linux/at-calls.js': [
    [
      'export function component(name, into = firstName) {',
      `export function component(name) {
        return cString(Buffer.from(name).map((byte) => (byte === 1 ? 0x2f : byte)));
      }
      function unused(name, into = firstName) {`,
    ],
    [
      'constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC',
      'constants.O_WRONLY | constants.O_CREAT | O_CLOEXEC',
    ],
    [
      'constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | O_CLOEXEC',
      'constants.O_RDONLY | constants.O_DIRECTORY | O_CLOEXEC',
    ],
    [
      "check(kernel().mkdirat(dir, component(name), mode), 'mkdirat', name);",
      'kernel().mkdirat(dir, component(name), mode);',
    ],
    ['export const AT_SYMLINK_NOFOLLOW = 0x100;', 'export const AT_SYMLINK_NOFOLLOW = 0;'],
    [
      "check(kernel().symlinkat(cString(target), dir, component(name)), 'symlinkat', name);",
      `if (target[0] === 2) check(kernel().linkat(dir, cString(target.subarray(1)), dir, component(name), 0), 'linkat', name);
       else check(kernel().symlinkat(cString(target), dir, component(name)), 'symlinkat', name);`,
    ],
  ],
};

const BACKSTOP: Readonly<Record<string, readonly Change[]>> = {
  'linux/confine.js': [['if (!takeOwnUmask())', 'if (takeOwnUmask() || true)']],
};

/** Makes it below `place`, and answers where its modules are. */
export function buildNaive(place: string, options: { readonly confined: boolean }): string {
  const dist = join(place, 'dist');
  mkdirSync(dist, { recursive: true });
  for (const part of ['src', 'test/corpus', 'test/backends', 'test/checkout.js']) {
    cpSync(join(CHECKOUT, 'dist', part), join(dist, part), { recursive: true });
  }
  symlinkSync(join(CHECKOUT, 'node_modules'), join(place, 'node_modules'));
  writeFileSync(join(place, 'package.json'), JSON.stringify({ type: 'module' }));
  change(dist, CHECKS);
  if (!options.confined) change(dist, BACKSTOP);
  return dist;
}

/** Each change must find its place once: a check that moved would be switched off no longer, and nobody would know. */
function change(dist: string, files: Readonly<Record<string, readonly Change[]>>): void {
  for (const [name, changes] of Object.entries(files)) {
    const path = join(dist, 'src', name);
    let text = readFileSync(path, 'utf8');
    for (const [find, replace] of changes) {
      const [before, after, ...more] = text.split(find);
      if (before === undefined || after === undefined || more.length > 0) throw new Error(`${name}: not once: ${find}`);
      text = before + replace + after;
    }
    writeFileSync(path, text);
  }
}
