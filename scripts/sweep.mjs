/**
 * `npm run sweep [-- [--every N] [--only WORD…] [--kill] [--errors] [--layers N]]`: every operation killed in front of every changing
 * system call, and with every such call failing; ends with 1 when anything was wrong (docs/sweeps.md).
 */
import { setup } from './setup.mjs';

setup();
await import('../dist/test/sweeps/main.js');
