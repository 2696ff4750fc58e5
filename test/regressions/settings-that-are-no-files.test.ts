import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseFlags } from '../../src/config.js';
import { isLarderError } from '../../src/errors.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const MAIN = fileURLToPath(new URL('../helpers/larder-main.js', import.meta.url));

/** In a process that can be killed: one that waits for a FIFO ends by nothing else. */
function larder(directory: string, ...args: string[]): { status: number | null; stderr: string } {
  const env = { PATH: process.env['PATH'], HOME: directory, XDG_CONFIG_HOME: join(directory, 'config') };
  const options = { env, encoding: 'utf8', timeout: 20_000, killSignal: 'SIGKILL' } as const;
  return spawnSync(process.execPath, [MAIN, '--root', join(directory, 'store'), '--socket', 'none', ...args], options);
}

function withDirectory(work: (directory: string) => void): void {
  const directory = makeDirectory();
  try {
    mkdirSync(join(directory, 'config', 'larder'), { recursive: true });
    work(directory);
  } finally {
    removeDirectory(directory);
  }
}

test('a setting that names a FIFO or a device without an end is refused at once', () => {
  withDirectory((directory) => {
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of [fifo, '/dev/zero'])
      for (const option of ['--appc-trust', '--image-gc-config', '--docker-config', '--registry-ca-files']) {
        const { status, stderr } = larder(directory, 'pull', '127.0.0.1:1/x', option, path);
        assert.equal(status, 2, `${option} ${path}: ${stderr}`);
        assert.match(stderr, /not a regular file/);
      }
    execFileSync('mkfifo', [join(directory, 'config', 'larder', 'config.json')]);
    assert.match(larder(directory, 'images').stderr, /config\.json: not a regular file/);
  });
});

test('a configuration file that is not JSON is not quoted, with --debug neither', () => {
  withDirectory((directory) => {
    writeFileSync(
      join(directory, 'config', 'larder', 'config.json'),
      '{"docker_config":{"auths":{"h":{"auth":PLANTED}}}}',
    );
    const { status, stderr } = larder(directory, '--debug', 'images');
    assert.equal(status, 2, stderr);
    assert.doesNotMatch(stderr, /PLANT/);
  });
});

test('a prefix of simple discovery with a password in it is refused, and not repeated', () => {
  for (const scheme of ['https', 'http', 'hdfs', 'gopher'])
    assert.throws(
      () => parseFlags({ appc_simple_discovery_uri_prefix: `${scheme}://user:PLANTED@host/` }, 'options'),
      (error) => isLarderError(error, 'LARDER_FLAGS_INVALID') && !error.message.includes('PLANTED'),
    );
  assert.deepEqual(parseFlags({ appc_simple_discovery_uri_prefix: 'https://host/a@b/' }, 'options'), {
    appc_simple_discovery_uri_prefix: 'https://host/a@b/',
  });
});
