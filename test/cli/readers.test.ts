/** Whoever reads what the command prints may leave before its end, as `head` does. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

const RENDER = new URL('../../src/cli/render.js', import.meta.url).href;
const ENDLESS = `
  import { outliveReaders, renderResult } from ${JSON.stringify(RENDER)};
  import { setTimeout } from 'node:timers/promises';
  outliveReaders();
  async function* endless() {
    for (;;) {
      yield Buffer.from('line\\n');
      await setTimeout(1);
    }
  }
  await renderResult({ bytes: endless() }, true);
`;

test('output without an end ends with its reader', { timeout: 60_000 }, async (t) => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', ENDLESS], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  child.stdout.once('data', () => child.stdout.destroy());
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});
