/** `npm run check`: every gate of CI that needs no further installation, in CI's order; the first failure ends it. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, setup } from './setup.mjs';

const node = process.execPath;
const bin = (name, ...path) => join(ROOT, 'node_modules', name, ...path);

const GATES = [
  ['tests', node, ['scripts/test.mjs']],
  ['lint', node, [bin('@biomejs', 'biome', 'bin', 'biome'), 'check', '--error-on-warnings']],
  ['types', node, [bin('typescript', 'bin', 'tsc'), '-p', '.', '--noEmit', '--incremental', 'false']],
  ['import walls', node, ['scripts/test.mjs', 'architecture']],
  ['docs', node, ['scripts/test.mjs', 'docs.test']],
  ['demo', node, ['scripts/demo.mjs']],
];

setup();
for (const [name, command, args] of GATES) {
  const start = Date.now();
  const { status } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' });
  console.log(`check: ${name}: ${status === 0 ? 'passed' : 'FAILED'} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  if (status !== 0) process.exit(status ?? 1);
}
