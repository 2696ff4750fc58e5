/** `npm run bench -- [peers|floor|…] [OPTIONS]`: sets the checkout up and runs one of bench/; `peers` by default. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, setup } from './setup.mjs';

setup();
const named =
  process.argv[2] !== undefined && !process.argv[2].startsWith('-') ? process.argv.splice(2, 1)[0] : 'peers';
const program = join(ROOT, 'dist', 'bench', `${named}.js`);
if (!/^[a-z-]+$/.test(named) || !existsSync(program)) {
  console.error(`bench: ${named}: there is no such benchmark in bench/`);
  process.exit(2);
}
await import(pathToFileURL(program).href);
