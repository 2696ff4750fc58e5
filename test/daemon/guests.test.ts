/** Users of a machine at one daemon: who gets what. Real processes of two users, a registry that wants a login, another that does not. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { digestOf } from '../../src/spec/digest.js';
import { OCI_INDEX } from '../../src/spec/media-types.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { type Child, type Ended, startNode } from '../helpers/child.js';
import { DaemonHome, end } from '../helpers/daemon.js';
import { needsRoot } from '../helpers/temporary.js';

const MAIN = fileURLToPath(new URL('../helpers/larder-main.js', import.meta.url));
const ASK = fileURLToPath(new URL('../helpers/ask-child.js', import.meta.url));
const [ANNA, BERT, GROUP] = [54_001, 54_002, 54_003];
const LOGIN = { username: 'user', password: 'pass' };

describe('guests of a daemon', { skip: needsRoot }, () => {
  let home: DaemonHome;
  let daemon: Child;
  let secret: ImageSource;
  let open: ImageSource;
  let image: string;

  before(async () => {
    secret = new ImageSource(await startRegistry({ auth: { type: 'bearer', ...LOGIN } }));
    secret.publish('team/app', [sampleLayer('app', 50_000)]);
    secret.publish('team/other', [sampleLayer('other')]);
    image = secret.reference('team/app');
    open = await ImageSource.start();
    open.publish('for/all', [sampleLayer('all')]);
  });
  after(async () => {
    await secret[Symbol.asyncDispose]();
    await open[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    home = new DaemonHome();
    chmodSync(home.directory, 0o755);
    await start();
  });
  afterEach(() => home.dispose());

  /** The daemon's own login is good for everything. */
  const start = async (...args: readonly string[]): Promise<void> => {
    const config = join(home.directory, 'daemon.json');
    writeFileSync(config, configFor(LOGIN.password), { mode: 0o600 });
    daemon = await home.start([...args, '--socket-group', String(GROUP), '--docker-config', config]);
  };
  const configFor = (password: string): string =>
    JSON.stringify({ auths: { [secret.registry.host]: { username: 'user', password } } });

  /** `larder ARGS` as that user, who has logged in with that password. */
  const larder = (uid: number, args: readonly string[], password?: string): Promise<Ended> => {
    const directory = join(home.directory, `home-${uid}-${password ?? 'nobody'}`);
    mkdirSync(join(directory, '.docker'), { recursive: true });
    const config = join(directory, '.docker/config.json');
    writeFileSync(config, password === undefined ? '{}' : configFor(password), { mode: 0o600 });
    chownSync(config, uid, GROUP);
    const all = ['--root', home.root, '--socket', home.socket, ...args];
    const env = { PATH: process.env['PATH'], HOME: directory };
    return startNode(MAIN, all, { cwd: '/', env, uid, gid: GROUP }).ended;
  };
  const ask = async (uid: number, path: string, body?: unknown): Promise<string> => {
    const args = [home.socket, path, ...(body === undefined ? [] : [JSON.stringify(body)])];
    const { stdout, stderr } = await startNode(ASK, args, { cwd: '/', uid, gid: GROUP }).ended;
    return `${stdout}${stderr}`;
  };
  /** What was asked of the registry meanwhile: `HEAD manifests` and the like. */
  const requests = async (work: () => Promise<unknown>, of: ImageSource = secret): Promise<string[]> => {
    const since = of.registry.requests.length;
    await work();
    return (
      of.registry.requests
        .slice(since)
        // Of a registry on the loopback it is found out first how to speak to it.
        .filter(({ url }) => url !== '/v2/')
        .map(({ method, url }) => `${method} ${/token|manifests|blobs/.exec(url)?.[0] ?? url}`)
    );
  };
  const pulled = async (work: Promise<Ended>): Promise<void> => {
    const { status, stderr } = await work;
    assert.equal(status, 0, stderr);
  };
  const refused = async (work: Promise<Ended>, why: RegExp): Promise<void> => {
    const { status, stdout, stderr } = await work;
    assert.notEqual(status, 0, stdout);
    assert.match(stderr, why);
  };

  test('are members of the group, and nobody else can knock', async () => {
    const [socket, directory] = [lstatSync(home.socket), lstatSync(dirname(home.socket))];
    assert.deepEqual([socket.mode & 0o777, socket.gid], [0o660, GROUP]);
    assert.deepEqual([directory.mode & 0o777, directory.gid], [0o710, GROUP]);
    const { stdout, stderr } = await startNode(ASK, [home.socket, '/v1/daemon'], { cwd: '/', uid: ANNA, gid: ANNA })
      .ended;
    assert.equal(stdout, '');
    assert.match(stderr, /EACCES/);
    const facts = await ask(ANNA, '/v1/daemon');
    assert.match(facts, /^200 .*"settings":\{\},"ownLogins":true/);
  });

  test('are told what is wrong, not where in the daemon nor what was behind it', async () => {
    const refusals = [
      await ask(ANNA, '/v1/pull', { reference: open.reference('not/there') }),
      await ask(ANNA, '/v1/pull', { reference: 'UPPER' }),
      await ask(ANNA, '/v1/repair', {}),
    ];
    for (const answer of refusals) {
      assert.match(answer, /^4\d\d .*"error":\{"code":"LARDER_[A-Z_]+","message":"[^"]/);
      assert.doesNotMatch(answer, /"stack"|"cause"|\.[jt]s:\d/);
    }
    assert.match(await ask(0, '/v1/pull', { reference: 'UPPER' }), /"stack":/);
  });

  test('get an image that is here because of another one’s login only with one of their own', async () => {
    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    await refused(larder(BERT, ['pull', image]), /wants a login/);
    await refused(larder(BERT, ['pull', image], 'wrong'), /refused the login/);
    assert.match(await ask(BERT, '/v1/images'), /^200 \[\]/);

    const asked = await requests(() => pulled(larder(BERT, ['pull', image], LOGIN.password)));
    assert.deepEqual(asked, ['HEAD manifests', 'GET token', 'HEAD manifests']);
    assert.deepEqual(await requests(() => pulled(larder(BERT, ['pull', image]))), []);
    assert.match(await ask(BERT, '/v1/images'), /team\/app:latest/);
    await refused(larder(BERT, ['pull', secret.reference('team/other')]), /wants a login/);
  });

  test('are not lent the daemon’s login, for what is here nor for what is not', async () => {
    await refused(larder(ANNA, ['pull', image]), /wants a login/);
    await pulled(home.larder(['pull', image]).ended);
    await refused(larder(ANNA, ['pull', image]), /wants a login/);
    await refused(larder(ANNA, ['provision', image, '--id', `u${ANNA}/c`]), /wants a login/);
    assert.equal(await home.client.list().then((claims) => claims.length), 0);
  });

  test('cannot borrow it by asking for it; root can leave it out', async () => {
    assert.match(await ask(ANNA, '/v1/pull', { reference: image, defaultLogin: true }), /_UNAUTHENTICATED/);
    const named = { type: 'docker', name: image, defaultLogin: true };
    assert.match(await ask(ANNA, '/v1/provision', { id: `u${ANNA}/c`, image: named }), /_UNAUTHENTICATED/);
    await assert.rejects(home.client.pull(image, { defaultLogin: false }), { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
    await home.client.pull(image);
  });

  test('get what anybody may have without a login', async () => {
    const all = open.reference('for/all');
    await pulled(larder(ANNA, ['pull', all]));
    assert.deepEqual(await requests(() => pulled(larder(BERT, ['pull', all])), open), ['HEAD manifests']);
    assert.deepEqual(await requests(() => pulled(larder(BERT, ['pull', all])), open), []);
  });

  test('are let in by the registry alone, whatever a mirror gives everybody', async () => {
    await using mirror = new ImageSource(await startRegistry());
    mirror.publish('team/app', [sampleLayer('app', 50_000)]);
    const conf = join(home.directory, 'registries.conf');
    const lines = ['[[registry]]', `location = "${secret.registry.host}"`, '[[registry.mirror]]'];
    writeFileSync(conf, [...lines, `location = "${mirror.registry.host}"`].join('\n'));
    await end(daemon);
    await start('--registries-conf', conf);
    await refused(larder(ANNA, ['pull', image]), /wants a login/);
    await refused(larder(ANNA, ['pull', '--refresh', image]), /wants a login/);
    assert.match(await ask(ANNA, '/v1/images'), /^200 \[\]/);
    assert.equal(mirror.requests('manifest').length, 0);

    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    assert.equal(mirror.requests('layer').length, 1);
    await refused(larder(BERT, ['pull', '--refresh', image]), /wants a login/);
    const told = await ask(ANNA, '/v1/pull', { reference: image, cached: false });
    assert.match(told, /^200 .*"type":"resolve"/);
    assert.doesNotMatch(told, /"type":"mirror"/);
  });

  test('get nothing offline for knowing the digest of what is here by another one’s login', async () => {
    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    const [{ digest } = { digest: '' }] = (await home.client.images()).filter(({ reference }) =>
      /team/.test(reference),
    );
    await pulled(larder(BERT, ['pull', open.reference('for/all')]));
    await end(daemon);
    await start('--offline');
    await pulled(larder(BERT, ['pull', open.reference('for/all')]));
    await refused(larder(BERT, ['pull', `${open.reference('for/all')}@${digest}`]), /larder is offline/);
    await home.client.pull(`${open.reference('for/all')}@${digest}`);
  });

  test('get no manifest and no config for naming it in an image of their own', async () => {
    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    const facts = secret.publish('team/app', [sampleLayer('app', 50_000)]);
    const manifest = { mediaType: facts.mediaType, digest: digestOf(facts.manifest), size: facts.manifest.length };
    const platform = { os: 'linux', architecture: facts.platform.split('/')[1] };
    const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...manifest, platform }] };
    open.registry.addManifest('bert/index', 'latest', Buffer.from(JSON.stringify(index)), OCI_INDEX);
    open.registry.addManifest('bert/image', 'latest', facts.manifest, facts.mediaType);
    for (const name of ['bert/index', 'bert/image']) {
      await refused(larder(BERT, ['pull', open.reference(name)]), /does not have it/);
    }
  });

  test('are let in by a registry that knows no HEAD', async () => {
    await using old = new ImageSource(
      await startRegistry({ fault: ({ method }) => (method === 'HEAD' ? { kind: 'status', status: 405 } : undefined) }),
    );
    old.publish('a', [sampleLayer('a')]);
    for (const uid of [ANNA, BERT]) await pulled(larder(uid, ['pull', old.reference('a')]));
  });

  test('get their login out of a helper of their own, which runs as they', async () => {
    const tools = join(home.directory, 'tools');
    mkdirSync(tools);
    const script = `#!/bin/sh\n[ "$(id -u)" = ${BERT} ] || exit 7\necho '{"Username":"user","Secret":"pass"}'\n`;
    writeFileSync(join(tools, 'docker-credential-mine'), script, { mode: 0o755 });
    const directory = join(home.directory, 'of-bert');
    mkdirSync(join(directory, '.docker'), { recursive: true });
    for (const helper of ['mine', 'missing']) {
      const config = join(directory, '.docker/config.json');
      writeFileSync(config, JSON.stringify({ credsStore: helper }), { mode: 0o600 });
      chownSync(config, BERT, GROUP);
      const args = ['--root', home.root, '--socket', home.socket, 'pull', secret.reference('team/app')];
      const env = { PATH: `${tools}:/usr/bin:/bin`, HOME: directory };
      const { status, stderr } = await startNode(MAIN, args, { cwd: '/', env, uid: BERT, gid: GROUP }).ended;
      assert.equal(status, 0, stderr);
      // The second time he is known, and needs no login.
      if (helper === 'missing') assert.match(stderr, /docker-credential-missing .*going on without a login/);
    }
  });

  test('run no helper in the daemon', async () => {
    const config = { type: 'value', value: JSON.stringify({ credsStore: 'mine' }) };
    const answer = await ask(BERT, '/v1/pull', { reference: image, config });
    assert.match(answer, /LARDER_REGISTRY_UNAUTHENTICATED/);
    assert.match(answer, /docker-credential-mine is named where no programs are run/);
  });

  test('are served without the registry what they have reached, and nothing else', async () => {
    const gone = new ImageSource(await startRegistry());
    gone.publish('a', [sampleLayer('a')]);
    const name = gone.reference('a');
    await pulled(larder(ANNA, ['pull', name]));
    await gone[Symbol.asyncDispose]();
    await pulled(larder(ANNA, ['pull', name]));
    await refused(
      larder(BERT, ['pull', name]),
      /whether he may have it only its registry can tell: .*connection refused/,
    );
  });

  test('have containers of their own, under their own name', async () => {
    const [annas, berts] = [`u${ANNA}/c`, `u${BERT}/c`];
    await pulled(larder(ANNA, ['provision', image, '--id', annas], LOGIN.password));
    assert.equal(
      readFileSync(join((await home.client.claimOf(annas)).images[0]?.rootfs ?? '', 'app'), 'utf8'),
      'this is app\n',
    );
    await refused(larder(ANNA, ['provision', image, '--id', 'c'], LOGIN.password), /not one of this user's/);
    await refused(larder(BERT, ['provision', image, '--id', berts]), /wants a login/);
    await refused(larder(BERT, ['destroy', annas]), /not one of this user's/);
    assert.match(await ask(BERT, '/v1/containers'), /^200 \[\]/);
    assert.match(await ask(ANNA, '/v1/containers'), /"container":"u54001\/c"/);
    const volume = { id: berts, volumes: [{ name: 'v', image: { type: 'docker', name: image } }] };
    assert.match(await ask(BERT, '/v1/provision', volume), /LARDER_REGISTRY_UNAUTHENTICATED/);
    await pulled(larder(ANNA, ['destroy', annas]));
    assert.deepEqual(await home.client.list(), []);
  });

  test('lose what they reached when the registry does not let them in any more', async () => {
    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    await pulled(larder(ANNA, ['pull', image]));
    await refused(larder(ANNA, ['pull', '--refresh', image], 'wrong'), /refused the login/);
    await refused(larder(ANNA, ['pull', image]), /wants a login/);
  });

  test('are asked again after a time', async () => {
    await end(daemon);
    await start('--grant-lifetime', '1secs');
    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    await sleep(1100);
    await refused(larder(ANNA, ['pull', image]), /wants a login/);
  });

  test('are asked again when the database was made again', async () => {
    await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    await end(daemon);
    await start();
    await pulled(larder(ANNA, ['pull', image]));
    await end(daemon);
    writeFileSync(join(home.root, 'metadata/larder.db'), 'no database');
    await start();
    const asked = await requests(async () => {
      await refused(larder(ANNA, ['pull', image]), /wants a login/);
      await pulled(larder(ANNA, ['pull', image], LOGIN.password));
    });
    assert.ok(!asked.includes('GET blobs'), asked.join());
  });

  for (const [what, path, body] of [
    ['an archive', '/v1/pull', { reference: 'docker-archive:/etc/shadow' }],
    ['an Appc image', '/v1/pull', { reference: 'appc:example.com/a' }],
    [
      'a secret in a file',
      '/v1/pull',
      { reference: 'a', config: { type: 'reference', reference: { name: 'file:/x' } } },
    ],
    [
      'a program for a secret',
      '/v1/pull',
      { reference: 'a', config: { type: 'reference', reference: { name: 'exec:/x' } } },
    ],
    ['device nodes', '/v1/provision', { id: `u${ANNA}/c`, reference: 'a', nodev: false }],
    [
      'an archive as a volume',
      '/v1/provision',
      { id: `u${ANNA}/c`, volumes: [{ name: 'v', image: { type: 'docker', name: 'oci:/x' } }] },
    ],
    ['another one’s containers', '/v1/destroy', { id: `u${ANNA}x/c` }],
    ['all of his own at once', '/v1/destroy', { id: `u${ANNA}` }],
    ['pruning', '/v1/prune', {}],
    ['pruning as Mesos does', '/api/v1', { type: 'PRUNE_IMAGES' }],
    ['a plan', '/v1/plan', { reference: 'a' }],
    ['what a name meant', '/v1/history', { reference: 'a' }],
    ['a change of what a name means', '/v1/rollback', { reference: 'a' }],
    ['the removal of an image', '/v1/remove', { reference: 'a' }],
    ['recovery', '/v1/recover', { known: [] }],
    ['a check', '/v1/check', {}],
    ['one container of all', '/v1/containers/c', undefined],
    ['facts of the store', '/v1/info', undefined],
    ['metrics', '/metrics', undefined],
  ] as const) {
    test(`are refused ${what}`, async () => {
      assert.match(await ask(ANNA, path, body), /^403 .*"code":"LARDER_PERMISSION"/);
    });
  }
});
