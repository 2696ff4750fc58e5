/** `larder run` with a real runtime and this machine's busybox-like programs, taken from the host into an image. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { char, dir, file, symlink, tar } from '../../src/testing/tar-builder.js';
import { needs, needsRoot } from '../e2e/tools.js';
import { whileRuns } from '../helpers/child.js';
import { BIN_PATH, CommandHome } from '../helpers/command.js';

const RUNTIME = needs('crun') !== false && needs('runc') !== false ? 'needs crun or runc' : false;
const skip = needsRoot() || RUNTIME;

describe('larder run', { skip }, () => {
  let source: ImageSource;
  let home: CommandHome;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('tools');
    source.publish('tools', [programs('/bin/sh', '/bin/cat', '/usr/bin/id', '/usr/bin/env', '/bin/sleep')], {
      config: {
        Cmd: ['/bin/sh', '-c', 'echo default'],
        Env: ['FROM=image', 'PATH=/bin'],
        WorkingDir: '/work',
        User: 'app',
      },
    });
  });
  after(() => source?.[Symbol.asyncDispose]());
  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(async () => {
    assert.equal(await home.ok('containers'), 'no containers');
    await home.ok('prune');
    assert.equal(await home.ok('check'), 'clean');
    home.dispose();
  });

  test('gives the program a terminal where it has one itself', async () => {
    const program = '[ -t 0 ] && [ -t 1 ] && echo is-a-terminal; exit 4';
    const line = `${process.execPath} ${BIN_PATH} --root ${home.root} run ${reference} -- /bin/sh -c '${program}'`;
    const { status, stdout } = await home.startProgram('script', ['-qec', line, '/dev/null']).ended;
    assert.match(stdout, /is-a-terminal/);
    assert.equal(status, 4);
    assert.equal(await home.ok('run', reference, '--', '/bin/sh', '-c', '[ -t 0 ] || echo is-none'), 'is-none');
  });

  test('devices of an image do not open, not even where its files are a copy', async () => {
    const nodes = tar([char('memory', 1, 1, { mode: 0o666 }), file('plain', 'text')]);
    source.publish('devices', [programs('/bin/sh', '/bin/cat'), nodes]);
    for (const [backend, answer] of [
      ['copy', /No such file/],
      ['erofs', /Permission denied/],
    ] as const) {
      const script = 'cat /plain; : < /memory';
      const { stdout, stderr } = await home.run([
        'run',
        '--backend',
        backend,
        source.reference('devices'),
        '/bin/sh',
        '-c',
        script,
      ]);
      assert.equal(stdout, 'text');
      assert.match(stderr, answer, backend);
      assert.equal(/1 device node was left out/.test(stderr), backend === 'copy', stderr);
    }
  });

  test('shows other images at paths of the container, read-only unless they are to be written', async () => {
    source.publish('data', [tar([dir('.'), file('text', 'data\n')])]);
    const data = source.reference('data');
    const script = 'cat /in/text /mnt/rw/text; echo x > /mnt/rw/new && cat /mnt/rw/new; echo x > /in/new';
    const volumes = ['--volume', `/in=${data}`, '--volume', `/mnt/rw=${data},rw`];
    const { stdout, stderr } = await home.run(['run', '--id', 'a/b', ...volumes, reference, '--', 'sh', '-c', script]);
    assert.equal(stdout, 'data\ndata\n', stderr);
    const root = await home.run(['run', '--user', '0', ...volumes, reference, '--', 'sh', '-c', script]);
    assert.equal(root.stdout, 'data\ndata\nx\n', root.stderr);
    assert.match(root.stderr, /\/in\/new: Read-only/);
    for (const place of ['relative', '/', '/a/../..']) {
      const refused = await home.run(['run', '--volume', `${place}=${data}`, reference]);
      assert.equal(refused.status, 125);
      assert.match(refused.stderr, /not an absolute path|not a path below \//);
    }
  });

  async function run(...args: readonly string[]): Promise<{ status: number | string; stdout: string; stderr: string }> {
    return home.run(['run', ...args], { env: { LARDER_LOG: 'error', FROM_HOST: 'host' } });
  }

  test('ends with the status of the program', async () => {
    for (const status of [0, 1, 7, 125, 255]) {
      const outcome = await run(reference, '--', 'sh', '-c', `exit ${status}`);
      assert.equal(outcome.status, status, outcome.stderr);
    }
  });

  test('runs what the image asks for, in its directory, with its variables, as its user', async () => {
    assert.equal((await run(reference)).stdout, 'default\n');
    const { stdout, stderr } = await run(reference, '--', 'sh', '-c', 'pwd; echo $FROM; id -u; id -g');
    assert.equal(stdout, '/work\nimage\n1000\n1001\n', stderr);
  });

  test('takes variables, a user, a directory and an entrypoint from the command line', async () => {
    const options = ['-e', 'FROM=here', '--env', 'FROM_HOST', '-u', '0:7', '-w', '/etc'];
    const { stdout, stderr } = await run(
      ...options,
      reference,
      '--',
      'sh',
      '-c',
      'pwd; echo $FROM $FROM_HOST; id -u; id -g',
    );
    assert.equal(stdout, '/etc\nhere host\n0\n7\n', stderr);
    assert.equal(
      (await run('--entrypoint', '/bin/cat', reference, '/etc/passwd')).stdout,
      'app:x:1000:1001::/work:/bin/sh\n',
    );
  });

  test('gives arguments to an entrypoint, and an entrypoint of the caller takes the place of all', async () => {
    const entry = source.reference('entry');
    source.publish('entry', [programs('/bin/sh', '/bin/cat')], {
      config: { Entrypoint: ['/bin/sh', '-c', 'echo "$0" "$@"', 'entry'], Cmd: ['from', 'cmd'], Env: ['PATH=/bin'] },
    });
    assert.equal((await run(entry)).stdout, 'entry from cmd\n');
    assert.equal((await run(entry, '--', 'from', 'here')).stdout, 'entry from here\n');
    assert.equal((await run('--entrypoint', 'cat', entry, '/etc/passwd')).stdout, 'app:x:1000:1001::/work:/bin/sh\n');
    assert.equal((await run('--entrypoint', '', entry, 'cat', '/etc/passwd')).status, 0);
    const nothing = await run('--entrypoint', '', entry);
    assert.equal(nothing.status, 125);
    assert.match(nothing.stderr, /the image names no command/);
  });

  test('needs a command of the caller where the image’s wishes are ignored, and runs it without them', async () => {
    const none = await run('--docker-ignore-runtime', reference);
    assert.equal(none.status, 125);
    assert.match(none.stderr, /the image names no command/);
    const { stdout, stderr } = await run(
      '--docker-ignore-runtime',
      reference,
      '--',
      'sh',
      '-c',
      'pwd; echo "[$FROM]"; id -u',
    );
    assert.equal(stdout, '/\n[]\n0\n', stderr);
  });

  test('runs an Appc image alike: its program with the caller’s arguments, as the owner of a file', async () => {
    const aci = buildAci({
      name: 'example.com/tools',
      entries: [...entriesOf(['/bin/sh', '/usr/bin/id'], 'rootfs/'), dir('rootfs/owned', { uid: 1234, gid: 77 })],
      app: {
        exec: ['/bin/sh', '-c', 'pwd; echo $FROM; id -u; id -g; echo default'],
        user: '/owned',
        group: '/owned',
        workingDirectory: '/work',
        environment: [
          { name: 'FROM', value: 'image' },
          { name: 'PATH', value: '/bin' },
        ],
      },
    });
    writeAciDirectory(join(home.directory, 'acis'), [aci]);
    const prefix = ['--appc-simple-discovery-uri-prefix', `${join(home.directory, 'acis')}/`];
    const { stdout, stderr } = await run(...prefix, 'appc:example.com/tools');
    assert.equal(stdout, '/work\nimage\n1234\n77\ndefault\n', stderr);
    const given = await run(...prefix, 'appc:example.com/tools', '--', '-c', 'echo given');
    assert.equal(given.stdout, 'given\n', given.stderr);
  });

  test('hands on what it reads', async () => {
    const { stdout, stderr } = await home.run(['run', reference, 'cat'], {
      input: 'through a pipe',
      env: { LARDER_LOG: 'error' },
    });
    assert.equal(stdout, 'through a pipe', stderr);
  });

  test('ends with 127 where the program is not there, 126 where it cannot be run, 125 where larder failed', async () => {
    const absent = await run(reference, '--', 'no-such-program');
    assert.equal(absent.status, 127);
    assert.match(absent.stderr, /no-such-program: not found in the image/);
    const plain = await run(reference, '--', '/etc/passwd');
    assert.equal(plain.status, 126);
    assert.match(plain.stderr, /\/etc\/passwd: not an executable file/);
    assert.equal((await run(source.reference('nowhere'))).status, 125);
    assert.equal((await run('--no-such-option', reference)).status, 125);
    assert.equal((await run('-u', 'nobody-knows', reference)).status, 125);
  });

  test('hands signals on to the program, and tidies up after it', async () => {
    const child = home.start([
      'run',
      reference,
      '--',
      'sh',
      '-c',
      'trap "exit 42" TERM; echo ready; while :; do sleep 0.1; done',
    ]);
    let ready = false;
    child.process.stdout?.once('data', () => {
      ready = true;
    });
    await whileRuns(child, () => ready);
    child.kill('SIGTERM');
    assert.equal((await child.ended).status, 42);
  });

  test('is cancelled by Ctrl-C while it fetches, and leaves nothing', async () => {
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1000 } : undefined));
    const asked = source.requests('layer').length;
    const child = home.start(['run', reference]);
    await whileRuns(child, () => source.requests('layer').length > asked);
    child.kill('SIGINT');
    const { status, stderr } = await child.ended;
    source.setFault();
    assert.equal(status, 130, stderr);
  });
});

/** A layer of these programs of the host and the libraries that they need, with an account. */
function programs(...paths: readonly string[]): Buffer {
  return tar([dir('.'), ...entriesOf(paths, '')]);
}

function entriesOf(paths: readonly string[], root: string): Buffer[] {
  const libraries = paths.flatMap((path) => execFileSync('ldd', [path], { encoding: 'utf8' }).match(/\/\S+/g) ?? []);
  const program = (to: string, from: string): Buffer => file(`${root}${to}`, readFileSync(from), { mode: 0o755 });
  return [
    dir(`${root}etc`),
    file(`${root}etc/passwd`, 'app:x:1000:1001::/work:/bin/sh\n'),
    dir(`${root}work`),
    ...['usr', 'usr/bin', 'usr/lib', 'usr/lib64', 'proc', 'sys', 'dev'].map((path) => dir(`${root}${path}`)),
    ...['bin', 'lib', 'lib64'].map((path) => symlink(`${root}${path}`, `usr/${path}`)),
    ...paths.map((path) => program(`usr/bin/${path.split('/').at(-1)}`, path)),
    ...[...new Set(libraries)].map((path) => program(path.slice(1), path)),
  ];
}
