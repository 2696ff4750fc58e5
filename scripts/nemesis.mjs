/**
 * `npm run nemesis [-- [--processes N] [--operations N] [--minutes N] [--seed N] [--kill-every N]]`: many processes do everything
 * at once to one store while they are killed and their clocks jump; ends with 1 when anything was wrong, or when fewer
 * operations than asked came to an end (docs/concurrency.md).
 */
import { setup } from './setup.mjs';

setup();
await import('../dist/test/nemesis/main.js');
