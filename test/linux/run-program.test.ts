import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram, lastLine, type ProgramOptions, runProgram } from '../../src/linux/run-program.js';
import { makeDirectory } from '../helpers/temporary.js';

const directory = makeDirectory();
after(() => rmSync(directory, { recursive: true }));

function script(name: string, body: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

function run(program: string, args: readonly string[], more: Partial<ProgramOptions> = {}) {
  return runProgram(program, args, { doing: 'test', timeoutMs: 20_000, ...more });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.startsWith('Z') !== true;
  } catch {
    return false;
  }
}

describe('a program of the host', () => {
  it('is run with its arguments as they are, and its status is a result', async () => {
    const path = script('args', 'printf "%s|" "$@"; echo oops >&2; exit 3');
    assert.deepEqual(await run(path, ['a b', '$(id)', ';', '']), {
      status: 3,
      signal: undefined,
      stdout: 'a b|$(id)|;||',
      stderr: 'oops\n',
    });
  });

  it('sees nothing of our environment, and no input', async () => {
    process.env['LARDER_TEST_SECRET'] = 'x';
    after(() => delete process.env['LARDER_TEST_SECRET']);
    const path = script('env', 'env; cat; pwd');
    const { stdout } = await run(path, [], { env: { MORE: '1' } });
    assert.doesNotMatch(stdout, /LARDER_TEST_SECRET|HOME=/);
    assert.match(stdout, /^LANG=C$/m);
    assert.match(stdout, /^MORE=1$/m);
    assert.match(stdout, /^\/$/m);
  });

  it('that says too much is read to its end, and the beginning kept', async () => {
    const path = script('flood', 'head -c 3000000 /dev/zero | tr "\\0" x; exit 0');
    const { status, stdout } = await run(path, [], { maxOutputBytes: 1000 });
    assert.deepEqual([status, stdout], [0, 'x'.repeat(1000)]);
  });

  it('that a signal ends says which', async () => {
    assert.equal((await run(script('dies', 'kill -TERM $$'), [])).signal, 'SIGTERM');
  });

  it('that hangs is killed with its children', async () => {
    const pidFile = join(directory, 'pid');
    const path = script('hangs', `sleep 100 & echo $! > ${pidFile}; echo stuck >&2; wait`);
    await assert.rejects(run(path, [], { timeoutMs: 500 }), {
      code: 'LARDER_TIMEOUT',
      message: /hangs did not end within 500 ms \(it said: stuck\)/,
    });
    const child = Number(readFileSync(pidFile, 'utf8'));
    for (let i = 0; i < 50 && isAlive(child); i++) await sleep(20);
    assert.equal(isAlive(child), false);
  });

  it('ends when the caller no longer wants it', async () => {
    const controller = new AbortController();
    const running = run(script('waits', 'sleep 100'), [], { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(running, { code: 'LARDER_ABORTED' });
    await assert.rejects(run(script('never', `touch ${directory}/ran`), [], { signal: controller.signal }), {
      code: 'LARDER_ABORTED',
    });
    assert.equal(existsSync(join(directory, 'ran')), false);
  });

  it('that cannot be started is an error that says so', async () => {
    await assert.rejects(run(join(directory, 'missing'), []), { message: /test: run .*missing/ });
    await assert.rejects(run('ls', []), { message: /not an absolute path/ });
  });
});

describe('looking for a program', () => {
  it('finds the first executable file, only in absolute directories', async () => {
    mkdirSync(join(directory, 'bin', 'tool'), { recursive: true });
    const path = script('tool', '');
    assert.equal(await findProgram('tool', `:.:${directory}/bin:${directory}`), path);
    chmodSync(path, 0o644);
    assert.equal(await findProgram('tool', directory), undefined);
    assert.equal(await findProgram('tool', ''), undefined);
  });
});

describe('the last line', () => {
  it('is the last one that says something', () => {
    assert.equal(lastLine('a\n b \n\n'), 'b');
    assert.equal(lastLine(''), '');
  });
});
