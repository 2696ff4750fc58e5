/**
 * `node dist/test/bounds/durability.js [--mib N] [--files N] [--rounds N] [--most RATIO] [--work DIR]`: what it costs that pulls are
 * durable. An image of 1 GiB and 20,000 files is pulled in turn as ever and by a copy of the code in which nothing is
 * synced. Ends with 1 when the one takes more than 1.3 times
 * (or RATIO times) as long as the other, the least of each.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { removeDirectory } from '../helpers/temporary.js';
import { compileMutant, type Mutant } from '../power/mutants.js';
import { pullApart } from './pull.js';

const LAYERS = 4;
const MIB = 2 ** 20;

const NOTHING_IS_SYNCED: Mutant['changes'] = [
  ['layers/new-file', 'fsyncSync(this.#fd);', ''],
  ['layers/tar-output', 'fsyncSync(fd);', ''],
  ['layers/write-back', 'if (this.#running !== undefined ||', 'if (true ||'],
  ['content/ingest', 'await handle.sync();', ''],
  ['linux/durable', 'await closing(handle, () => handle.sync());', 'await handle.close();'],
  ['linux/durable', 'await handle.chmod(mode);\n    await handle.sync();', 'await handle.chmod(mode);'],
  ['metadata/database', 'await closing(handle, () => handle.sync());', 'await handle.close();'],
  ['metadata/database', "wait ? 'FULL' : 'NORMAL'", "'OFF'"],
  ['metadata/database', 'foreign_keys = ON; PRAGMA synchronous = FULL', 'foreign_keys = ON; PRAGMA synchronous = OFF'],
];

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    files: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '5' },
    most: { type: 'string', default: '1.3' },
    work: { type: 'string', default: tmpdir() },
  },
});
const bytes = Number(values.mib) * MIB;
const program = fileURLToPath(new URL('../../bench/large-image.js', import.meta.url));
const each = [bytes / LAYERS, bytes / Number(values.files)].map((n) => String(Math.round(n)));
mkdirSync(values.work, { recursive: true });
const directory = mkdtempSync(join(values.work, 'larder-durability-'));
const server = spawn(process.execPath, [program, String(LAYERS), ...each], { stdio: ['pipe', 'pipe', 'inherit'] });
try {
  const code = compileMutant({ changes: NOTHING_IS_SYNCED }, directory);
  const unsynced: typeof import('./pull.js') = await import(join(code, 'test', 'bounds', 'pull.js'));
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const reference = `${line.toString().trim()}/large:latest`;
  const [durable, fast]: [number[], number[]] = [[], []];
  for (let i = 0; i < Number(values.rounds); i++) {
    fast.push(await pullMs(unsynced.pullApart, reference));
    durable.push(await pullMs(pullApart, reference));
  }
  const [with_, without] = [Math.min(...durable), Math.min(...fast)];
  console.log(
    `${values.mib} MiB: ${seconds(with_)} with syncs, ${seconds(without)} without: ${(with_ / without).toFixed(2)} times of ${Number(values.most)}`,
  );
  process.exitCode = with_ / without <= Number(values.most) ? 0 : 1;
} finally {
  server.kill();
  removeDirectory(directory);
}

async function pullMs(pull: typeof pullApart, reference: string): Promise<number> {
  const root = join(directory, 'store');
  // What one has not written to the disk must not be in the way of the next.
  execFileSync('sync', ['-f', directory]);
  try {
    const { outcome, ms } = await pull({ root, reference, settings: {}, provision: false });
    if (outcome !== 'ok') throw new Error(outcome);
    return ms;
  } finally {
    removeDirectory(root);
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
