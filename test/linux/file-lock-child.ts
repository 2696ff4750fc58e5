/** Takes a lock, says so, and keeps it until it is told to go (or is killed). `exclusive|shared|store-shared-loop` path... */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { lockFile } from '../../src/linux/file-lock.js';
import { StoreLock } from '../../src/linux/store-lock.js';

const [what = '', path = '', gate = ''] = process.argv.slice(2);

if (what === 'shared' || what === 'exclusive') {
  await lockFile(path, what);
  process.stdout.write('locked\n');
  await once(process.stdin, 'data');
  process.exit(0);
}

// Comes and goes without end, as `store-shared` or `store-exclusive`.
const lock = new StoreLock({ lock: path, gate });
process.stdout.write('locked\n');
for (;;) {
  const held = what === 'store-shared' ? await lock.shared() : await lock.exclusive();
  await sleep(5);
  held.release();
}
