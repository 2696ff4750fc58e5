/**
 * Works on the store at ROOT: `prune STEP` prunes and dies in front of that change of the disk (or tells how many there
 * are), `loop WHAT FROM MS` prunes or holds and frees containers again and again. Tells what it did on standard output.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Larder } from '../../src/larder.js';
import { Database } from '../../src/metadata/database.js';
import { openStore } from './prune-store.js';

const [, , root = '', action = '', ...args] = process.argv;
let steps = 0;

if (action === 'prune') await pruneUntil(Number(args[0] ?? 0));
else await loop(args[0] ?? '', args[1] ?? '', Number(args[2] ?? 0));

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

async function loop(what: string, id: string, ms: number): Promise<void> {
  const larder = new Larder(await openStore(root));
  const end = Date.now() + ms;
  let done = 0;
  while (Date.now() < end) {
    if (what === 'prune') await larder.prune();
    else {
      const { rootfs } = await larder.provision(args[3] ?? '', { id, backend: 'copy' });
      if (!fs.existsSync(`${rootfs}/kept`)) throw new Error(`${rootfs}: not what was asked for`);
      await larder.destroy(id);
    }
    done++;
  }
  await larder.close();
  process.stdout.write(`${done}`);
}
