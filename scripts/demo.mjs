/** `npm run demo`: sets the checkout up and runs examples/demo.ts. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, setup } from './setup.mjs';

setup();
await import(pathToFileURL(join(ROOT, 'dist', 'examples', 'demo.js')).href);
