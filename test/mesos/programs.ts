/** Layers of this machine's own programs, for images that run. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dir, file, symlink, tar } from '../../src/testing/tar-builder.js';
import { needs, needsRoot } from '../e2e/tools.js';

/** Running a command in an image's root filesystem with an OCI runtime. */
export const RUN_NEEDS =
  needsRoot() || (needs('crun') !== false && needs('runc') !== false ? 'needs crun or runc' : false);

/** A layer of these programs, the libraries that they need, and an account `app` with the id 1000. */
export function programs(...paths: readonly string[]): Buffer {
  const libraries = paths.flatMap((path) => execFileSync('ldd', [path], { encoding: 'utf8' }).match(/\/\S+/g) ?? []);
  return tar([
    dir('.'),
    ...['etc', 'usr', 'usr/bin', 'usr/lib', 'usr/lib64', 'proc', 'sys', 'dev'].map((path) => dir(path)),
    dir('tmp', { mode: 0o1777 }),
    ...['bin', 'lib', 'lib64'].map((path) => symlink(path, `usr/${path}`)),
    file('etc/passwd', 'root:x:0:0::/:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n'),
    ...paths.map((path) => program(`usr/bin/${path.split('/').at(-1)}`, path)),
    ...[...new Set(libraries)].map((path) => program(path.slice(1), path)),
  ]);
}

/** One program that needs nothing beside it, at the root of an image of nothing else. */
export function staticProgram(path: string, name: string): Buffer {
  return tar([program(name, path)]);
}

function program(to: string, from: string): Buffer {
  return file(to, readFileSync(from), { mode: 0o755 });
}
