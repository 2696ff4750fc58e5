import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PATH } from './process-group.js';

/** Every file of these, files or directories, is in the page cache then: nobody's disk is measured with the program. */
export function keepInMemory(paths: readonly string[]): void {
  for (const path of paths) {
    if (statSync(path).isDirectory()) keepInMemory(readdirSync(path).map((name) => join(path, name)));
    else readFileSync(path);
  }
}

/** Where they are. */
export function pathsOf(...programs: readonly string[]): string[] {
  return programs.map((program) =>
    execFileSync('sh', ['-c', `command -v ${program}`], { env: { PATH }, encoding: 'utf8' }).trim(),
  );
}

/** All that the command and the library may load. */
export function larderPaths(checkout: string): string[] {
  const { dependencies } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  // The last one has koffi's native code.
  const packages = [...Object.keys(dependencies), '@koromix'].map((name) => join(checkout, 'node_modules', name));
  return [process.execPath, join(checkout, 'bin'), join(checkout, 'dist', 'src'), ...packages.filter(existsSync)];
}
