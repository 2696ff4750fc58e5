/**
 * Puts the command and the program of worker threads into one file each, `dist/bundle/{command,worker}.cjs`, and makes
 * V8's code caches of them (`bin/warm.js`). From what tsc made, so that there is one compiler; native packages stay out,
 * and those that few need.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { build } from 'esbuild';
import { ROOT } from './setup.mjs';

const SRC = join(ROOT, 'dist', 'src');
const BUNDLE = join(ROOT, 'dist', 'bundle');
const PROGRAMS = { command: 'cli/main.js', worker: 'assemble-worker.js' };

rmSync(BUNDLE, { recursive: true, force: true });
mkdirSync(BUNDLE, { recursive: true });
for (const [name, entry] of Object.entries(PROGRAMS)) {
  const { outputFiles } = await build({
    entryPoints: [join(SRC, entry)],
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    legalComments: 'none',
    // Names and short lines stay, for stack traces.
    minifyWhitespace: true,
    lineLimit: 160,
    logLevel: 'warning',
    supported: { 'dynamic-import': false },
    external: ['koffi', '@photostructure/sqlite', 'smol-toml', 'socks'],
    plugins: [{ name: 'urls', setup: keepUrls }],
  });
  const path = join(BUNDLE, `${name}.cjs`);
  writeFileSync(`${path}.tmp`, named(`(function (module, require, __urlOf, __import) {${outputFiles[0].text}\n})`));
  renameSync(`${path}.tmp`, path);
}

/** Each module goes on to find its neighbours from where it was, and users' modules: with what `bin/load.js` defines. */
function keepUrls({ onLoad }) {
  onLoad({ filter: /\.js$/ }, ({ path }) => {
    const module = relative(SRC, path);
    if (module.startsWith('..')) return undefined;
    const text = readFileSync(path, 'utf8')
      .replaceAll('import.meta.url', `__urlOf(${JSON.stringify(module)})`)
      .replaceAll(/\bimport\((?=[a-z])/g, '__import(');
    return { contents: text, loader: 'js' };
  });
}

/** First a name for what follows. The loader takes a byte for a character; esbuild escapes others but in regular expressions. */
function named(program) {
  const other = /.{0,60}[^\0-\x7f].{0,20}/.exec(program);
  if (other !== null) throw new Error(`bundle: not ASCII, write it with \\u: ${other[0]}`);
  return `//${createHash('sha256').update(program).digest('hex')}\n${program}`;
}
