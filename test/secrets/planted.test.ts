/** Secrets of every kind are used, by the real command and the real daemon, and are afterwards nowhere. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { needs } from '../e2e/tools.js';
import { type Child, whileRuns } from '../helpers/child.js';
import { CommandHome } from '../helpers/command.js';
import { DaemonHome, end } from '../helpers/daemon.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { type Plant, Plants } from './planted.js';
import { ownVariables, Search } from './search.js';

/** Else some, for what costs a process each. */
const ALL = process.env['LARDER_SECRETS'] === 'all';

describe('a secret', { skip: needs('openssl') }, () => {
  let directory: string;
  let search: Search;
  let plants: Plants;

  before(async () => {
    directory = makeDirectory();
    search = new Search();
    plants = await Plants.make(directory, search);
  });
  after(async () => {
    await plants?.[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  const settings = (): string[] =>
    Object.entries(plants.settings).flatMap(([name, value]) => [`--${name.replaceAll('_', '-')}`, value]);
  const setMode = (mode: Plant['registry']['mode']): void => {
    for (const { registry } of plants.all) registry.mode = mode;
  };

  /** Looks at the process and the store in the middle of the pull from each registry, then lets it go on. */
  async function lookWhile(child: Child, root: string, which: readonly Plant[]): Promise<void> {
    for (const { name, registry } of which) {
      await until(() => registry.isHolding || child.process.exitCode !== null, `${name}: half a layer is there`);
      if (child.process.exitCode !== null) return;
      search.inProcess(child.process.pid ?? 0, plants.env);
      search.inFilesBelow(root);
      registry.letGo();
    }
  }

  test('that the command uses is nowhere, during the pull and after it', async () => {
    const home = new CommandHome();
    try {
      setMode('hold');
      const [first = assert.fail(), ...others] = plants.all.filter(({ config }) => config === undefined);
      const args = [...settings(), '--json', '--debug', 'pull'];
      const child = home.start([...args, first.reference], { env: plants.env });
      await lookWhile(child, home.directory, [first]);
      setMode('good');
      const ended = [await child.ended];
      ended.push(await home.run([...args, ...others.map(({ reference }) => reference)], { env: plants.env }));
      const file = join(directory, 'config-file');
      const own = plants.all.find(({ name }) => name === 'config by file') ?? assert.fail();
      ended.push(await home.run([...args, '--registry-config', file, own.reference], { env: plants.env }));
      const archive = join(home.directory, 'archive');
      for (const command of [
        ['history', first.reference],
        ['inspect', first.reference],
        ['export', first.reference, `oci-archive:${archive}`],
        ['info'],
        ['df'],
        ['check', '--deep'],
        ...(ALL ? [['images'], ['repair'], ['attach'], ['why', first.reference], ['gc', '--dry-run'], ['doctor']] : []),
      ])
        ended.push(await home.run([...settings(), '--json', '--debug', ...command], { env: plants.env }));
      for (const { status, stdout, stderr } of ended) {
        assert.ok(status === 0 || (ALL && status === 1), stderr);
        search.in('standard output', stdout);
        search.in('standard error', stderr);
      }
      assert.ok(existsSync(archive));
      search.inFilesBelow(home.directory);
      search.in('the helper’s arguments and variables', ownVariables(plants.helperSaw, plants.env));
      assert.deepEqual(search.found, []);
      for (const { name, isUsed } of plants.all)
        assert.ok(isUsed() || /value|environment/.test(name), `${name}: not used`);
    } finally {
      home.dispose();
    }
  });

  for (const mode of ['refuse', 'break'] as const) {
    test(`is in nothing that the command says or leaves when the registry ${mode}s and quotes it`, async () => {
      setMode(mode);
      // The daemon's test has all of them.
      const some = plants.all.filter(
        (plant, i) => plant.config === undefined && (ALL || i % 4 === (mode === 'refuse' ? 0 : 2)),
      );
      const home = new CommandHome();
      try {
        for (const plant of some) {
          const args = [...settings(), '--debug', 'pull', '--refresh', plant.reference];
          const { status, stdout, stderr } = await home.run(args, { env: plants.env });
          assert.notEqual(status, 0, plant.name);
          search.in(`${plant.name}: standard output of a failure`, stdout);
          search.in(`${plant.name}: standard error of a failure`, stderr);
          search.inFilesBelow(home.directory);
        }
        assert.deepEqual(search.found, []);
      } finally {
        home.dispose();
      }
    });
  }

  test('that the daemon uses is nowhere: not in its answers, events, metrics, files, or what is seen of it', async () => {
    const home = new DaemonHome();
    try {
      const daemon = await home.start([...settings(), '--debug', '--max-parallel-layers', '2'], plants.env);
      const ask = async (path: string, body?: object): Promise<number> => {
        const {
          status,
          headers,
          body: text,
        } = await home.ask(path, body === undefined ? {} : { body: JSON.stringify(body) });
        search.in(`the daemon’s answer to ${path}`, JSON.stringify(headers) + text);
        return status;
      };
      const pull = ({ reference, config }: Plant): Promise<number> =>
        ask('/v1/pull', { reference, cached: false, ...(config === undefined ? {} : { config }) });
      for (const mode of ['refuse', 'break'] as const) {
        setMode(mode);
        for (const plant of plants.all) await pull(plant);
      }
      setMode('hold');
      const [first = assert.fail(), ...others] = plants.all;
      const pulled = pull(first);
      const followed = until(() => first.registry.isHolding, 'half a layer is there').then(() =>
        ask('/v1/attach', { pull: first.reference }),
      );
      await until(() => first.registry.isHolding, 'half a layer is there');
      await ask('/v1/pulls');
      search.inProcess(daemon.process.pid ?? 0, plants.env);
      search.inFilesBelow(home.directory);
      setMode('good');
      first.registry.letGo();
      await Promise.all([pulled, followed]);
      for (const plant of others) assert.equal(await pull(plant), 200, plant.name);
      for (const path of ['/v1/daemon', '/v1/info', '/v1/images', '/v1/containers', '/metrics']) await ask(path);
      const image = { type: 'docker', name: first.reference, config: plants.all.at(-1)?.config };
      await ask('/v1/provision', { id: 'c1', image, backend: 'copy' });
      search.inProcess(daemon.process.pid ?? 0, plants.env);
      search.inFilesBelow(home.directory);
      await ask('/v1/destroy', { id: 'c1' });
      const { stdout, stderr } = await end(daemon);
      search.in('the daemon’s standard output', stdout);
      search.in('the daemon’s standard error', stderr);
      search.inFilesBelow(home.directory);
      assert.deepEqual(search.found, []);
      for (const { name, isUsed } of plants.all) assert.ok(isUsed(), `${name}: not used`);
    } finally {
      await home.dispose();
    }
  });

  for (const shared of [true, false]) {
    test(`that ${shared ? '`larder serve` uses' : 'its client shows to `larder serve`'} is nowhere, nor is it given to anybody`, async () => {
      const home = new CommandHome();
      const options = shared ? ['--share-private', '--listen', '127.0.0.1:0'] : ['--listen', '127.0.0.1:0'];
      const child = home.start([...settings(), '--debug', '--keep-blobs', 'serve', ...options], { env: plants.env });
      try {
        let said = '';
        child.process.stderr?.on('data', (text: string) => {
          said += text;
        });
        const port = (): string | undefined => / at 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
        await whileRuns(child, () => port() !== undefined);
        const ask = async ({ reference }: Plant, what: string): Promise<Buffer> => {
          const [, host, name] = /^([^/]+)\/(.+)$/.exec(reference) ?? [];
          const headers = shared ? {} : { authorization: `Basic ${plants.clientLogin}` };
          const answer = await fetch(`http://127.0.0.1:${port()}/v2/${name}/${what}?ns=${host}`, { headers });
          const body = Buffer.from(await answer.arrayBuffer());
          search.in('the answer to a client', `${JSON.stringify([...answer.headers])}${body.toString('latin1')}`);
          return answer.ok ? body : Buffer.alloc(0);
        };
        const seen = (): number => plants.all.reduce((sum, { registry }) => sum + registry.received.length, 0);
        const before = seen();
        for (const mode of ['refuse', 'break', 'good'] as const) {
          setMode(mode);
          for (const plant of plants.all.filter(({ config }) => config === undefined)) {
            const manifest = await ask(plant, 'manifests/latest');
            const [, layer] = /"layers":\[\{[^}]*"(sha256:[0-9a-f]{64})"/.exec(manifest.toString()) ?? [];
            if (layer !== undefined) await ask(plant, `blobs/${layer}`);
            if (shared && mode === 'good') assert.ok(layer !== undefined, `${plant.name}: not given`);
          }
        }
        assert.ok(seen() > before);
        search.inProcess(child.process.pid ?? 0, plants.env);
        child.kill('SIGTERM');
        const { stdout, stderr } = await child.ended;
        search.in('standard output of serve', stdout);
        search.in('standard error of serve', stderr);
        search.inFilesBelow(home.directory);
        if (!shared)
          assert.ok(plants.all.some(({ registry }) => registry.received.join().includes(plants.clientLogin)));
        assert.deepEqual(search.found, []);
      } finally {
        child.kill();
        await child.ended;
        home.dispose();
      }
    });
  }

  test('would be found wherever it were: in files, names, arguments, variables and texts', async () => {
    const control = new Search();
    const secret = 'planted-control-0123456789';
    control.add('s', secret);
    writeFileSync(join(directory, 'plain'), `x${secret}`);
    writeFileSync(
      join(directory, 'basic'),
      Buffer.from(`{"auth":"${Buffer.from(`me:${secret}`).toString('base64')}"}`),
    );
    writeFileSync(join(directory, 'inside'), Buffer.from(`abc ${secret} def`).toString('base64'));
    writeFileSync(join(directory, `name-${secret}`), '');
    control.inFilesBelow(directory);
    const home = new CommandHome();
    try {
      const child = home.startProgram('env', [`TOKEN=${secret}`, 'tail', '-f', '/dev/null', `/${secret}`]);
      await until(() => {
        control.inProcess(child.process.pid ?? 0, {});
        return ['environ', 'cmdline'].every((what) => control.found.includes(`s: /proc: ${what}`));
      }, 'the variable is seen');
      child.kill();
      await child.ended;
      const places = ['file: plain', 'file: basic', 'file: inside', 'a file’s name'];
      for (const place of places) assert.ok(control.found.includes(`s: ${place}`), place);
    } finally {
      home.dispose();
    }
  });
});
