/**
 * `npm run fuzz -- [--minutes N] [--seed S] [TARGET…]`: the long form of what test/fuzz does in the test suite. Every
 * target whose name contains one of the words, N minutes each (default 1), guided by the code that inputs reach.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, setup } from './setup.mjs';

setup();
const main = join(ROOT, 'dist', 'test', 'fuzz', 'main.js');
const { status } = spawnSync(process.execPath, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
process.exitCode = status ?? 1;
