/**
 * The process under test as one file, which starts in half the time; and the same with mistakes in it, to see that they
 * are found.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { CHILD } from './tracer.js';

const DIST = fileURLToPath(new URL('../..', import.meta.url));

/** File under src/, what it says there once, and what it says instead. */
export type Change = readonly [file: string, from: string, to: string];

/** Answers where the program is; beside the modules, so that it finds packages. */
export async function bundleChild(name: string, changes: readonly Change[] = []): Promise<string> {
  const outfile = fileURLToPath(new URL(`./bundled-${name}.mjs`, import.meta.url));
  const missing = new Set(changes);
  await build({
    entryPoints: [CHILD],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
    external: ['koffi', '@photostructure/sqlite', 'smol-toml', 'socks'],
    plugins: [
      {
        name: 'larder',
        setup: ({ onLoad }) => {
          onLoad({ filter: /\.js$/ }, ({ path }) => {
            let text = readFileSync(path, 'utf8');
            for (const change of changes.filter(([file]) => path === join(DIST, 'src', `${file}.js`))) {
              const [, from, to] = change;
              if (text.split(from).length !== 2) throw new Error(`${path}: does not say once: ${from}`);
              text = text.replace(from, () => to);
              missing.delete(change);
            }
            const contents = text.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href));
            return { contents, loader: 'js' };
          });
        },
      },
    ],
  });
  for (const [file] of missing) throw new Error(`${join(DIST, 'src', file)}: is no part of the program`);
  if (!existsSync(outfile)) throw new Error(`${outfile}: nothing was written`);
  return outfile;
}
