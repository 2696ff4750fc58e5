/** `npm run power -- [OPTIONS]`: sets the checkout up and runs the long form of test/power (docs/power-cuts.md). */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, setup } from './setup.mjs';

setup();
await import(pathToFileURL(join(ROOT, 'dist', 'test', 'power', 'main.js')).href);
