/** How a daemon begins and ends: real processes, signals, sockets of others and of the dead. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, closeSync, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { takeSocket } from '../../src/daemon/socket-place.js';
import { openLarder } from '../../src/index.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { type Ended, startNode } from '../helpers/child.js';
import { DaemonHome, end } from '../helpers/daemon.js';
import { findingsOf } from '../helpers/docker-store.js';
import { needsRoot } from '../helpers/temporary.js';
import { DatagramSocket, listeningSocket } from '../helpers/unix-sockets.js';

const MAIN = fileURLToPath(new URL('../helpers/larder-main.js', import.meta.url));
const ASK = fileURLToPath(new URL('../helpers/ask-child.js', import.meta.url));
const NOBODY = 65_534;

describe('a daemon', () => {
  let home: DaemonHome;

  beforeEach(() => {
    home = new DaemonHome();
  });
  afterEach(async () => {
    const larder = await openLarder({ root: home.root });
    const faults = (await findingsOf(larder)).filter(({ kind }) => kind === 'fault');
    await larder.close();
    await home.dispose();
    assert.deepEqual(faults, []);
  });

  test('has its socket to itself: mode 0600 in a directory of mode 0700, both its own', async () => {
    const daemon = await home.start();
    const [socket, directory] = [lstatSync(home.socket), lstatSync(dirname(home.socket))];
    assert.ok(socket.isSocket());
    assert.equal(socket.mode & 0o777, 0o600);
    assert.equal(directory.mode & 0o777, 0o700);
    assert.deepEqual([socket.uid, directory.uid], [process.getuid?.(), process.getuid?.()]);
    const { status, stderr } = await end(daemon);
    assert.equal(status, 0, stderr);
    assert.ok(!existsSync(home.socket) && !existsSync(`${home.socket}.lock`), 'something is left');
  });

  test('has its socket to itself from the instant at which it appears', async () => {
    const place = await takeSocket(home.socket);
    const server = createServer();
    let mode = 0;
    server.once('listening', () => {
      mode = lstatSync(home.socket).mode & 0o777;
    });
    await place.listen(server);
    server.close();
    place.release();
    assert.equal(mode, 0o600);
  });

  test('serves root and its own user, and nobody else, whatever the mode of the socket', {
    skip: needsRoot,
  }, async () => {
    const daemon = await home.start();
    for (const path of [home.directory, dirname(home.socket)]) chmodSync(path, 0o755);
    chmodSync(home.socket, 0o666);
    const asked = (uid?: number): Promise<Ended> =>
      startNode(ASK, [home.socket, '/v1/images'], { cwd: '/', ...(uid === undefined ? {} : { uid, gid: uid }) }).ended;
    assert.deepEqual(await asked(), { status: 0, stdout: '200 []\n', stderr: '' });
    const refused = await asked(NOBODY);
    assert.match(refused.stdout, /^403 .*"code":"LARDER_PERMISSION".*user 65534 is not served/, refused.stderr);
    const { body } = await home.ask('/metrics');
    assert.match(body, /^larder_denied_connections_total\{uid="65534"\} 1$/m);
    const { stderr } = await end(daemon);
    assert.match(stderr, /^larder: refused: uid 65534, pid \d+: GET$/m);
  });

  test('refuses a socket where another one answers', async () => {
    await home.start();
    const { status, stderr } = await home.larder(['daemon']).ended;
    assert.equal(status, 6);
    assert.match(stderr, /a daemon is there already/);
    assert.equal((await home.ask('/healthz')).status, 200);
  });

  test('refuses a socket of a program that has no lock but answers', async () => {
    mkdirSync(dirname(home.socket), { mode: 0o700 });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(home.socket, resolve));
    const { status } = await home.larder(['daemon']).ended;
    assert.equal(status, 6);
    assert.ok(existsSync(home.socket));
    await new Promise((resolve) => server.close(resolve));
  });

  test('takes the place of one that was killed, whose containers go on', async () => {
    await using source = await ImageSource.start();
    source.publish('a', [sampleLayer('a')]);
    const first = await home.start();
    const image = { type: 'docker', name: source.reference('a') } as const;
    const { rootfs } = await home.client.provision('c', image, { backend: 'copy' });
    first.kill('SIGKILL');
    await first.ended;
    assert.ok(lstatSync(home.socket).isSocket(), 'the dead one left its socket');
    await assert.rejects(home.client.list(), { code: 'LARDER_DAEMON_UNREACHABLE' });
    await home.start();
    assert.deepEqual(
      (await home.client.list()).map(({ container }) => container),
      ['c'],
    );
    assert.equal(readFileSync(join(rootfs, 'a'), 'utf8'), 'this is a\n');
    assert.equal(await home.client.destroy('c'), true);
  });

  test('leaves what is no socket, and directories that others can write to, alone', async () => {
    mkdirSync(dirname(home.socket), { mode: 0o700 });
    writeFileSync(home.socket, 'mine');
    const file = await home.larder(['daemon']).ended;
    assert.equal(file.status, 2, file.stderr);
    assert.equal(readFileSync(home.socket, 'utf8'), 'mine');
    rmSync(home.socket);
    chmodSync(dirname(home.socket), 0o777);
    const open = await home.larder(['daemon']).ended;
    assert.equal(open.status, 6, open.stderr);
    assert.match(open.stderr, /other users can write/);
    assert.ok(!existsSync(home.socket));
  });

  test('lets a pull that is under way finish when it is told to end, and refuses new work', async () => {
    await using source = await ImageSource.start();
    source.publish('slow', [sampleLayer('slow', 100_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 700 } : undefined));
    const daemon = await home.start(['--grace', '20']);
    const pull = home.client.pull(source.reference('slow'));
    await until(() => source.requests('layer').length > 0, 'the layer is asked for');
    daemon.kill('SIGTERM');
    await until(() => !existsSync(home.socket), 'nothing new is accepted');
    await assert.rejects(home.client.list(), { code: 'LARDER_DAEMON_UNREACHABLE' });
    assert.equal((await pull).record.layers.length, 1);
    const { status, stderr } = await daemon.ended;
    assert.equal(status, 0, stderr);
  });

  test('cancels what has not finished after the grace, and says so to who waits for it', async () => {
    await using source = await ImageSource.start();
    source.publish('stuck', [sampleLayer('stuck', 100_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const daemon = await home.start(['--grace', '0.5']);
    const pull = home.client.pull(source.reference('stuck'));
    pull.catch(() => {});
    await until(() => source.requests('layer').length > 0, 'the layer is asked for');
    const since = performance.now();
    daemon.kill('SIGTERM');
    await assert.rejects(pull, { code: 'LARDER_ABORTED' });
    assert.equal((await daemon.ended).status, 0);
    assert.ok(performance.now() - since < 5000, `took ${performance.now() - since} ms`);
  });

  test('cancels at once at the second signal', async () => {
    await using source = await ImageSource.start();
    source.publish('stuck', [sampleLayer('stuck', 100_000)]);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 10 } : undefined));
    const daemon = await home.start(['--grace', '600']);
    const pull = home.client.pull(source.reference('stuck'));
    pull.catch(() => {});
    await until(() => source.requests('layer').length > 0, 'the layer is asked for');
    daemon.kill('SIGTERM');
    await until(() => !existsSync(home.socket), 'it ends');
    daemon.kill('SIGTERM');
    await assert.rejects(pull, { code: 'LARDER_ABORTED' });
    assert.equal((await daemon.ended).status, 0);
  });

  test('takes a socket that a service manager opened, and leaves it there', async () => {
    mkdirSync(dirname(home.socket), { mode: 0o700 });
    const fd = listeningSocket(home.socket);
    // As a service manager does: the number of the process that is about to be the daemon.
    const script = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"';
    const args = ['-c', script, process.execPath, MAIN, '--root', home.root, 'daemon'];
    const child = spawn('/bin/sh', args, {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      env: { PATH: process.env['PATH'], HOME: home.directory },
    });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    try {
      await until(() => said.includes('serves '), 'it serves');
      assert.match(said, /at descriptor 3 of the service manager/);
      assert.equal((await home.client.facts()).pid, child.pid);
      child.kill('SIGTERM');
      assert.equal(await ended, 0, said);
      assert.ok(existsSync(home.socket), 'the socket is the service manager’s');
    } finally {
      child.kill('SIGKILL');
      await ended;
      closeSync(fd);
    }
  });

  test('tells the service manager when it serves and when it ends', async () => {
    using manager = new DatagramSocket(join(home.directory, 'notify'));
    const daemon = await home.start([], { NOTIFY_SOCKET: manager.path });
    assert.deepEqual(manager.receiveAll(), ['READY=1']);
    await end(daemon);
    assert.deepEqual(manager.receiveAll(), ['STOPPING=1']);
  });

  test('removes images by itself when the disk is fuller than it may be', async () => {
    await using source = await ImageSource.start();
    for (const name of ['kept', 'dropped']) source.publish(name, [sampleLayer(name)]);
    const config = {
      image_disk_headroom: 1,
      image_disk_watch_interval: { nanoseconds: 300_000_000 },
      excluded_images: [{ type: 'DOCKER', docker: { name: source.reference('kept') } }],
    };
    const daemon = await home.start(['--image-gc-config', JSON.stringify(config)]);
    for (const name of ['kept', 'dropped']) await home.client.pull(source.reference(name));
    await until(async () => (await home.client.images()).length === 1, 'an image goes');
    assert.deepEqual(
      (await home.client.images()).map(({ reference }) => reference),
      [`${source.reference('kept')}:latest`],
    );
    // An image is out of the store before its collection has ended, and only then is that counted.
    const counted = async () =>
      /^larder_gc_runs_total\{result="collected"\} [1-9]/m.test((await home.ask('/metrics')).body);
    await until(counted, 'the collection is counted');
    await end(daemon);
  });

  test('asks for a place where there is none, and for a loopback port', async () => {
    const none = await home.bare(['--root', home.root, '--socket', 'none', 'daemon']).ended;
    assert.equal(none.status, 2);
    assert.match(none.stderr, /no place for the socket/);
    const wide = await home.larder(['daemon', '--metrics', '0.0.0.0:9000']).ended;
    assert.equal(wide.status, 2);
    assert.match(wide.stderr, /not a loopback port/);
    const long = await home.bare(['--root', home.root, '--socket', `/tmp/${'x'.repeat(120)}`, 'daemon']).ended;
    assert.equal(long.status, 2, long.stderr);
  });
});
