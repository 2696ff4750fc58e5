/**
 * `npm run promises [-- [--all] [P1 …]]`: runs the commands of docs/security.md's table, those that take long only with
 * `--all` or by name, prints it with what was measured now, and ends with 1 when one falls short.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../checkout.js';
import { PROMISES } from './promises.js';

interface Run {
  readonly status: number | null;
  readonly printed: string;
}

const { values, positionals } = parseArgs({ options: { all: { type: 'boolean' } }, allowPositionals: true });
const chosen = PROMISES.filter(({ promise, long }) =>
  positionals.length === 0 ? values.all === true || long !== true : positionals.includes(promise),
);
const unknown = positionals.filter((name) => !PROMISES.some(({ promise }) => promise === name));
if (unknown.length > 0) {
  console.error(`promises: ${unknown.join(', ')}: not promised`);
  process.exit(2);
}
const runs = new Map<string, Run>();
const rows = chosen.map(({ promise, promised, command, measured }) => {
  const { status, printed } = runOnce(command);
  const figure = measured(printed);
  const isKept = status === 0 && figure !== undefined;
  return {
    isKept,
    text: `| ${promise} | ${promised} | ${isKept ? '' : 'SHORT: '}${figure ?? `status ${status}`} | \`${command}\` |`,
  };
});
console.log(['| | promised | measured | command |', '|---|---|---|---|', ...rows.map(({ text }) => text)].join('\n'));
process.exitCode = rows.length > 0 && rows.every(({ isKept }) => isKept) ? 0 : 1;

/** Several promises may be shown by one command. */
function runOnce(command: string): Run {
  const known = runs.get(command);
  if (known !== undefined) return known;
  console.error(`promises: ${command}`);
  const { status, stdout } = spawnSync('/bin/sh', ['-c', command], {
    cwd: CHECKOUT,
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const run = { status, printed: stdout };
  if (status !== 0) console.error(stdout.split('\n').slice(-40).join('\n'));
  runs.set(command, run);
  return run;
}
