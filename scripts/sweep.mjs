/**
 * `npm run sweep [-- [--every N [--offset K]] [--only WORD…] [--kill] [--errors] [--layers N] [--mutants]]`: every operation
 * killed in front of every changing system call, and with every such call failing; ends with 1 when anything was wrong, or a
 * mutant was not found (docs/sweeps.md).
 */
import { setup } from './setup.mjs';

setup();
await import('../dist/test/sweeps/main.js');
