/** A small real image out of this machine's own shell and tools, with the libraries that they need: for demonstrations. */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuiltImage, buildImage } from '../src/testing/image-builder.js';
import { dir, file, symlink, tar, whiteout } from '../src/testing/tar-builder.js';

const TOOLS = ['sh', 'ls', 'cat', 'uname', 'id', 'mkdir'];

/** Two layers: tools and libraries, then what makes it a system; the second one deletes a file of the first. */
export function machineImage(): BuiltImage {
  const programs = TOOLS.flatMap((name) => findProgram(name) ?? []);
  if (programs.length === 0) throw new Error('this machine has no shell to make an image of');
  const files = new Map([...programs, ...programs.flatMap(librariesOf)].map((path) => [path, readFileSync(path)]));
  const base = tar([
    ...parents([...files.keys(), '/bin/x', '/etc/x', '/tmp/x']).map((path) => dir(path)),
    ...[...files].map(([path, bytes]) => file(path.slice(1), bytes, { mode: 0o755 })),
    ...programs
      .filter((path) => dirname(path) !== '/bin')
      .map((path) => symlink(join('bin', path.split('/').at(-1) ?? ''), path)),
    file('etc/draft', 'this file is deleted by the next layer\n'),
  ]);
  const top = tar([
    whiteout('etc/draft'),
    file('etc/os-release', 'NAME="larder demo"\nID=demo\nVERSION_ID=1\n'),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'),
    file('etc/motd', 'This root filesystem was never unpacked.\n'),
  ]);
  return buildImage({
    layers: [{ tar: base }, { tar: top }],
    config: { Cmd: ['/bin/sh', '-c', 'cat /etc/motd'], Env: ['PATH=/bin'] },
  });
}

function findProgram(name: string): string | undefined {
  for (const directory of ['/bin', '/usr/bin']) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

/** The libraries and the loader that a program names, at the paths by which it names them. */
function librariesOf(program: string): string[] {
  try {
    const text = execFileSync('ldd', [realpathSync(program)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return [...text.matchAll(/(\/[^\s()]+) \(0x/g)].map(([, path]) => path ?? '');
  } catch {
    // Linked statically, or no ldd: nothing is needed beside the program.
    return [];
  }
}

function parents(paths: readonly string[]): string[] {
  const found = new Set<string>();
  for (const path of paths) for (let at = dirname(path); at !== '/'; at = dirname(at)) found.add(at.slice(1));
  return [...found].sort();
}
