import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DaemonClient } from '../../src/daemon/client.js';
import { Daemon } from '../../src/daemon/server.js';
import { Larder } from '../../src/larder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a removal by the daemon', () => {
  it('tells the log what could not be deleted after it was answered', async (t) => {
    const directory = makeDirectory();
    const socket = join(directory, 'larder.sock');
    const log: string[] = [];
    t.mock.method(Larder.prototype, 'remove', async (...[, { onEvent } = {}]: Parameters<Larder['remove']>) => {
      void sleep(50).then(() => onEvent?.({ type: 'warning', message: 'sweep: gc/x: EIO' }));
      return { images: [], layers: [], bytes: 0 };
    });
    const flags = { root: join(directory, 'store'), socket };
    const daemon = await Daemon.start({ flags, version: '1', log: (line) => log.push(line) });
    try {
      await new DaemonClient(socket).remove('alpine');
      await sleep(150);
      assert.deepEqual(
        log.filter((line) => line.includes('EIO')),
        ['remove: sweep: gc/x: EIO'],
      );
    } finally {
      await daemon.stop(0);
      removeDirectory(directory);
    }
  });
});
