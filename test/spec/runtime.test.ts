import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LarderError } from '../../src/errors.js';
import { parseImageConfig } from '../../src/spec/image-config.js';
import { type CommandInfo, commandOf, runtimeConfigOf, runtimeOfAppc } from '../../src/spec/runtime.js';

const ROOTFS = { type: 'layers', diff_ids: [`sha256:${'a'.repeat(64)}`] };
const withConfig = (config: unknown) => parseImageConfig(Buffer.from(JSON.stringify({ config, rootfs: ROOTFS })));

describe('the runtime view of a Docker image', () => {
  const runtime = (config: unknown) => runtimeConfigOf(withConfig(config));
  const user = (text: string) => runtime({ User: text }).user;

  it('fills in what the image leaves out', () => {
    assert.deepEqual(runtime({}), {
      entrypoint: [],
      cmd: [],
      env: [],
      cwd: '/',
      user: { user: 0 },
      stopSignal: 'SIGTERM',
      exposedPorts: [],
      volumes: [],
      labels: {},
    });
  });
  it('has ports, volumes, labels and the health check', () => {
    const view = runtime({
      ExposedPorts: { '80/tcp': {}, '53/UDP': {}, '8080': {}, '$PORT/tcp': {}, '0/tcp': {}, '65536': {} },
      Volumes: { '/data': {} },
      Labels: { a: 'b' },
      Healthcheck: { Test: ['CMD', 'true'], Interval: 30e9, Timeout: 1e6, Retries: 3 },
      StopSignal: 'SIGQUIT',
    });
    assert.deepEqual(view.exposedPorts.map(({ port, protocol }) => `${port}/${protocol}`).sort(), [
      '53/udp',
      '80/tcp',
      '8080/tcp',
    ]);
    assert.deepEqual(view.volumes, ['/data']);
    assert.deepEqual(view.labels, { a: 'b' });
    assert.deepEqual(view.healthcheck, {
      test: ['CMD', 'true'],
      intervalMs: 30_000,
      timeoutMs: 1,
      startPeriodMs: 0,
      retries: 3,
    });
    assert.equal(view.stopSignal, 'SIGQUIT');
  });
  it('has no health check where its test is inherited from nothing', () => {
    assert.equal(runtime({ Healthcheck: { Interval: 5 } }).healthcheck, undefined);
  });
  it('reads users as ids or names', () => {
    assert.deepEqual(user('1000'), { user: 1000 });
    assert.deepEqual(user('1000:100'), { user: 1000, group: 100 });
    assert.deepEqual(user('www-data:adm'), { user: 'www-data', group: 'adm' });
    assert.deepEqual(user('4294967294'), { user: 4294967294 });
    assert.deepEqual(user('app:'), { user: 'app' });
  });
  for (const bad of [
    '4294967296',
    '4294967295',
    '-1',
    '0x0',
    '1e3',
    ' 0',
    'root:0:0',
    '1000:-1',
    ':0',
    '00000000000',
    '/bin/sh',
  ]) {
    it(`refuses the user ${JSON.stringify(bad)}`, () =>
      assert.throws(() => user(bad), { code: 'LARDER_CONFIG_INVALID' }));
  }
  it('leaves out what is no variable at all', () => {
    assert.deepEqual(runtime({ Env: ['A=b', 'HOME', 'C=', 'D=e=f'] }).env, ['A=b', 'C=', 'D=e=f']);
  });
  it('refuses an environment without names', () => {
    assert.throws(() => runtime({ Env: ['=x'] }), { code: 'LARDER_CONFIG_INVALID' });
    assert.throws(() => runtime({ Env: ['A=\0'] }), { code: 'LARDER_CONFIG_INVALID' });
  });
});

describe('the runtime view of an Appc image', () => {
  const nothing = { exec: [], environment: [], mountPoints: [], ports: [] };
  const runtime = (app: object, annotations: readonly { name: string; value: string }[] = []) =>
    runtimeOfAppc({ app: { ...nothing, ...app }, annotations });

  it('is none without an app', () => assert.equal(runtimeOfAppc({ annotations: [] }), undefined));
  it('has the same fields', () => {
    const app = {
      exec: ['/bin/server', '--port', '80'],
      user: 'www',
      group: '33',
      workingDirectory: '/srv',
      environment: [{ name: 'A', value: 'b=c' }],
      mountPoints: [{ name: 'data', path: '/data', readOnly: false }],
      ports: [{ name: 'p', port: 8000, protocol: 'tcp', count: 2 }],
    };
    assert.deepEqual(runtime(app, [{ name: 'authors', value: 'x' }]), {
      entrypoint: ['/bin/server'],
      cmd: ['--port', '80'],
      env: ['A=b=c'],
      cwd: '/srv',
      user: { user: 'www', group: 33 },
      stopSignal: 'SIGTERM',
      exposedPorts: [
        { port: 8000, protocol: 'tcp' },
        { port: 8001, protocol: 'tcp' },
      ],
      volumes: ['/data'],
      labels: { authors: 'x' },
    });
  });
  it('keeps a path that stands for its owner', () => {
    assert.deepEqual(runtime({ user: '/bin/sh', group: '/bin/sh' })?.user, { user: '/bin/sh', group: '/bin/sh' });
  });
  it('never has more ports than there are', () => {
    const ports = [{ port: 65535, protocol: 'tcp', count: 4e9 }];
    assert.deepEqual(runtime({ ports })?.exposedPorts, [{ port: 65535, protocol: 'tcp' }]);
  });
  it('refuses users that are no ids', () => {
    assert.throws(() => runtime({ user: '4294967296' }), { code: 'LARDER_CONFIG_INVALID' });
    assert.throws(() => runtime({ user: '/a\0b' }), { code: 'LARDER_CONFIG_INVALID' });
  });
  it('given arguments runs the program with these alone, and else all of exec', () => {
    const view = runtime({ exec: ['/bin/e', 'a'] });
    assert.deepEqual(commandOf(view, { shell: false, arguments: ['x'] }).argv, ['/bin/e', 'x']);
    assert.deepEqual(commandOf(view, { shell: false }).argv, ['/bin/e', 'a']);
    assert.throws(() => commandOf(runtime({}), { shell: false }), { code: 'LARDER_REQUEST_INVALID' });
  });
});

/** Mesos, `isolators/docker/runtime.cpp`: rows are CommandInfo, columns are what the image has. */
describe('a command and an image', () => {
  const images = {
    neither: { entrypoint: [], cmd: [] },
    cmd: { entrypoint: [], cmd: ['/c', 'd'] },
    entrypoint: { entrypoint: ['/e', 'f'], cmd: [] },
    both: { entrypoint: ['/e', 'f'], cmd: ['c', 'd'] },
  } as const;
  type Row = Readonly<Record<keyof typeof images, string | undefined>>;
  const same = (argv: string | undefined): Row => ({ neither: argv, cmd: argv, entrypoint: argv, both: argv });
  const table: readonly (readonly [string, CommandInfo, Row])[] = [
    ['a shell without a line', { shell: true }, same(undefined)],
    ['nothing at all, which is a shell without a line', {}, same(undefined)],
    ['a shell with a line', { shell: true, value: 'l', arguments: ['x'] }, same('sh -c l')],
    ['a program', { shell: false, value: '/p' }, same('/p')],
    ['a program with arguments', { shell: false, value: '/p', arguments: ['p0', 'x'] }, same('p0 x')],
    [
      'neither program nor arguments',
      { shell: false },
      { neither: undefined, cmd: '/c d', entrypoint: '/e f', both: '/e f c d' },
    ],
    [
      'arguments alone',
      { shell: false, arguments: ['x', 'y'] },
      { neither: undefined, cmd: '/c x y', entrypoint: '/e f x y', both: '/e f x y' },
    ],
  ];
  for (const [what, command, row] of table) {
    for (const [image, runtime] of Object.entries(images)) {
      const argv = row[image as keyof typeof images];
      it(`${what}, of an image with ${image}: ${argv ?? 'refused'}`, () => {
        if (argv === undefined) {
          const isRefusal = (error: unknown): boolean =>
            error instanceof LarderError && error.code === 'LARDER_REQUEST_INVALID';
          assert.throws(() => commandOf(runtime, command), isRefusal);
        } else assert.equal(commandOf(runtime, command).argv.join(' '), argv);
      });
    }
  }
  it('names the program apart from argv[0]', () => {
    const command = { shell: false, value: '/p', arguments: ['zero', 'x'] };
    assert.deepEqual(commandOf(undefined, command), { program: '/p', argv: ['zero', 'x'] });
  });
  it('whose runtime is ignored need a program of the caller', () => {
    assert.throws(() => commandOf(undefined, { shell: false, arguments: ['x'] }), { code: 'LARDER_REQUEST_INVALID' });
    assert.deepEqual(commandOf(undefined, { shell: false, value: '/p' }).argv, ['/p']);
  });
});
