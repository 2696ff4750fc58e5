/** `npm run promises [-- [--all] [P1 …]]`: sets the checkout up and measures what docs/security.md promises. */
import { setup } from './setup.mjs';

setup();
await import('../dist/test/bounds/main.js');
