/**
 * Works on the store at ROOT: `prune STEP` prunes and dies in front of that change of the disk (or tells how many there
 * are), `loop WHAT FROM` prunes or holds and frees containers again and again, until SIGTERM. Tells what it did on standard output:
 * a line for each round.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Larder } from '../../src/larder.js';
import { Database } from '../../src/metadata/database.js';
import { openStore } from './prune-store.js';

const [, , root = '', action = '', ...args] = process.argv;
let steps = 0;

if (action === 'prune') await pruneUntil(Number(args[0] ?? 0));
else await loop(args[0] ?? '', args[1] ?? '');

/** Each transaction, before it and after it, and each rename is a step. */
async function pruneUntil(last: number): Promise<void> {
  const larder = new Larder(await openStore(root));
  const step = (): void => {
    steps++;
    if (steps === last) process.kill(process.pid, 'SIGKILL');
  };
  const transaction = Database.prototype.transaction;
  Database.prototype.transaction = async function <T>(
    this: Database,
    ...given: Parameters<typeof transaction<T>>
  ): Promise<T> {
    step();
    const result = await transaction.apply(this, given);
    step();
    return result as T;
  };
  const { renameSync } = fs;
  fs.renameSync = (from, to) => {
    step();
    renameSync(from, to);
  };
  syncBuiltinESMExports();
  await larder.prune();
  await larder.close();
  process.stdout.write(`${steps}`);
}

async function loop(what: string, id: string): Promise<void> {
  const larder = new Larder(await openStore(root));
  let told = false;
  process.once('SIGTERM', () => {
    told = true;
  });
  while (!told) {
    if (what === 'prune') await larder.prune();
    else {
      const { rootfs } = await larder.provision(args[2] ?? '', { id, backend: 'copy' });
      if (!fs.existsSync(`${rootfs}/kept`)) throw new Error(`${rootfs}: not what was asked for`);
      await larder.destroy(id);
    }
    process.stdout.write('done\n');
  }
  await larder.close();
}
