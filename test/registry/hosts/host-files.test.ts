import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { HostFiles, type HostFilesSettings } from '../../../src/registry/hosts/host-files.js';
import { parseReference } from '../../../src/spec/reference.js';
import { makeDirectory, removeDirectory } from '../../helpers/temporary.js';

const mirror = (host: string) => `[[registry]]\nlocation = "quay.io"\n[[registry.mirror]]\nlocation = "${host}"\n`;

describe('the files of this host', () => {
  let directory: string;
  beforeEach(() => {
    directory = makeDirectory();
  });
  afterEach(() => removeDirectory(directory));

  function put(path: string, text: string): string {
    const whole = join(directory, path);
    mkdirSync(dirname(whole), { recursive: true });
    writeFileSync(whole, text);
    return whole;
  }

  function endpoints(settings: Partial<HostFilesSettings> = {}) {
    const files = new HostFiles({
      registriesConf: undefined,
      certsDir: undefined,
      etc: join(directory, 'etc'),
      env: { HOME: join(directory, 'home') },
      isRoot: true,
      ...settings,
    });
    return files.endpointsOf(parseReference('quay.io/a'));
  }
  const hosts = async (settings: Partial<HostFilesSettings> = {}): Promise<string[]> =>
    (await endpoints(settings)).map(({ server }) => server.host);

  it('may be none', async () => {
    assert.deepEqual(await hosts(), ['quay.io']);
  });

  it('are podman’s, with drop-ins in order after the main file', async () => {
    put('etc/containers/registries.conf', mirror('main.example'));
    assert.deepEqual(await hosts(), ['main.example', 'quay.io']);
    put('etc/containers/registries.conf.d/20-b.conf', mirror('b.example'));
    put('etc/containers/registries.conf.d/10-a.conf', mirror('a.example'));
    put('etc/containers/registries.conf.d/30-c.conf.off', mirror('c.example'));
    assert.deepEqual(await hosts(), ['b.example', 'quay.io']);
  });

  it('are the user’s own instead, but not for root', async () => {
    put('etc/containers/registries.conf', mirror('system.example'));
    put('home/.config/containers/registries.conf', mirror('user.example'));
    assert.deepEqual(await hosts(), ['system.example', 'quay.io']);
    assert.deepEqual(await hosts({ isRoot: false }), ['user.example', 'quay.io']);
  });

  it('are those that $CONTAINERS_REGISTRIES_CONF names', async () => {
    const path = put('mine.conf', mirror('mine.example'));
    assert.deepEqual(await hosts({ env: { CONTAINERS_REGISTRIES_CONF: path } }), ['mine.example', 'quay.io']);
  });

  it('are containerd’s where podman’s say nothing of registries, which win otherwise', async () => {
    put('etc/containerd/certs.d/quay.io/hosts.toml', '[host."https://containerd.example"]');
    put('etc/containers/registries.conf', 'unqualified-search-registries = ["docker.io"]');
    assert.deepEqual(await hosts(), ['containerd.example', 'quay.io']);
    put('etc/containers/registries.conf.d/block.conf', '[[registry]]\nlocation = "evil.example"\nblocked = true');
    assert.deepEqual(await hosts(), ['quay.io']);
  });

  it('are what the setting names: a file, a directory, or none', async () => {
    put('etc/containers/registries.conf', mirror('system.example'));
    const conf = put('own/registries.conf', mirror('own.example'));
    put('own/registries.conf.d/a.conf', mirror('dropped-in.example'));
    put('tree/quay.io/hosts.toml', '[host."https://tree.example"]');
    assert.deepEqual(await hosts({ registriesConf: conf }), ['dropped-in.example', 'quay.io']);
    assert.deepEqual(await hosts({ registriesConf: join(directory, 'tree') }), ['tree.example', 'quay.io']);
    assert.deepEqual(await hosts({ registriesConf: 'none' }), ['quay.io']);
    await assert.rejects(hosts({ registriesConf: join(directory, 'missing') }), {
      code: 'LARDER_CONFIG_INVALID',
      message: /no such file or directory/,
    });
  });

  for (const [how, text] of [
    ['inline', 'registry = [{ location = "quay.io", mirror = [{ location = "m.example" }] }]'],
    ['with spaces and quotes', ' [[ "registry" ]]\nlocation = "quay.io"\nmirror = [{ location = "m.example" }]'],
    ['with an escape', '[["\\u0072egistry"]]\nlocation = "quay.io"\nmirror = [{ location = "m.example" }]'],
    ['after an alias of that name', `[aliases]\n  "registry" = "x"\n${mirror('m.example')}`],
  ] as const) {
    it(`are understood ${how}`, async () => {
      put('etc/containers/registries.conf', text);
      assert.deepEqual(await hosts(), ['m.example', 'quay.io']);
    });
  }

  it('may have a syntax error, which is told with its place', async () => {
    put('etc/containers/registries.conf', 'x = 1\n[[registry]\n');
    await assert.rejects(hosts(), { code: 'LARDER_CONFIG_INVALID', message: /registries\.conf: not TOML \(line 2/ });
  });

  it('have certificates by registry: podman’s, then Docker’s, for mirrors too', async () => {
    put('etc/containers/registries.conf', mirror('m.example:5000'));
    put('etc/docker/certs.d/m.example:5000/ca.crt', 'docker ca');
    put('etc/docker/certs.d/quay.io/ca.crt', 'not looked at');
    put('etc/containers/certs.d/quay.io/ca.crt', 'podman ca');
    put('etc/containers/certs.d/quay.io/client.cert', 'cert');
    put('etc/containers/certs.d/quay.io/client.key', 'key');
    assert.deepEqual(
      (await endpoints()).map(({ server }) => server.trust),
      [{ ca: 'docker ca' }, { ca: 'podman ca', clients: [{ cert: 'cert', key: 'key' }] }],
    );
    assert.deepEqual(
      (await endpoints({ certsDir: 'none' })).map(({ server }) => server.trust),
      [{}, {}],
    );
    const own = put('own/quay.io/x.crt', 'own ca');
    const [, origin] = await endpoints({ certsDir: dirname(dirname(own)) });
    assert.deepEqual(origin?.server.trust, { ca: 'own ca' });
  });

  it('that are shut to the user are not there for him, unless the setting names them', {
    skip: process.getuid?.() === 0 ? false : 'needs root, to become somebody else',
  }, async () => {
    put('etc/docker/certs.d/quay.io/ca.crt', 'docker ca');
    put('etc/containerd/certs.d/quay.io/hosts.toml', '[host."https://containerd.example"]');
    for (const shut of ['etc/docker', 'etc/containerd']) chmodSync(join(directory, shut), 0o700);
    chmodSync(directory, 0o755);
    process.seteuid?.(65_534);
    try {
      const [only, ...others] = await endpoints({ isRoot: false });
      assert.deepEqual([only?.server.host, only?.server.trust, others], ['quay.io', {}, []]);
      const certsDir = join(directory, 'etc/docker/certs.d');
      await assert.rejects(endpoints({ certsDir }), { code: 'LARDER_PERMISSION' });
    } finally {
      process.seteuid?.(0);
    }
  });

  it('must have a key beside each client certificate', async () => {
    put('etc/docker/certs.d/quay.io/client.cert', 'cert');
    await assert.rejects(hosts(), {
      code: 'LARDER_CONFIG_INVALID',
      message: /client\.cert is there without client\.key/,
    });
  });
});
