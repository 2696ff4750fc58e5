/** Who is told what by hosts that name each other, and what a tag means while the registry changes its mind. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Larder, openLarder } from '../../src/larder.js';
import { type FakeRegistry, type RegistryAuth, startRegistry } from '../../src/testing/fake-registry.js';
import type { BuiltImage } from '../../src/testing/image-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const LOGIN = { username: 'me', password: 'known-only-to-one' };
const imageOf = (name: string): BuiltImage => buildImage({ layers: [{ tar: sampleLayer(name, 2000) }] });
const realmAt = (host: string): RegistryAuth => ({ type: 'bearer', ...LOGIN, realm: `http://${host}/token` });

describe('a registry that nobody has a login for', () => {
  const directory = makeDirectory();
  let known: FakeRegistry;
  let larder: Larder;

  before(async () => {
    known = await startRegistry({ host: '127.0.0.4', auth: { type: 'bearer', ...LOGIN } });
    const auth = Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString('base64');
    larder = await openLarder({
      root: join(directory, 'store'),
      docker_config: { auths: { [known.host]: { auth } } },
      registries_conf: 'none',
      registry_certs_dir: 'none',
    });
  });

  after(async () => {
    await larder?.close();
    await known?.close();
    removeDirectory(directory);
  });

  async function refused(auth: RegistryAuth): Promise<FakeRegistry> {
    const registry = await startRegistry({ host: '127.0.0.5', auth, images: [{ name: 'a/b', ...imageOf('a') }] });
    try {
      await assert.rejects(larder.pull(`${registry.host}/a/b`), { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
      for (const { headers } of [...registry.requests, ...known.requests])
        assert.equal(headers.authorization, undefined);
      return registry;
    } catch (error) {
      await registry.close();
      throw error;
    }
  }

  test('is told none of another registry when it asks for a password', async () => {
    await using registry = await refused({ type: 'basic', ...LOGIN });
    assert.ok(registry.requests.length > 0);
  });

  test('is told none when it asks for a token of its own', async () => {
    await using registry = await refused({ type: 'bearer', ...LOGIN });
    assert.ok(registry.requests.some(({ url }) => url.startsWith('/token')));
  });

  test('gets no token with the login of the registry whose token server it names', async () => {
    await using _registry = await refused(realmAt(known.host));
    assert.ok(known.requests.some(({ url }) => url.startsWith('/token')));
  });
});

describe('a registry whose HEAD and GET say different things', () => {
  const directory = makeDirectory();
  const [old, next, other] = [imageOf('old'), imageOf('next'), imageOf('other')];
  let registry: FakeRegistry;
  let larder: Larder;

  before(async () => {
    registry = await startRegistry();
    larder = await openLarder({
      root: join(directory, 'store'),
      registries_conf: 'none',
      registry_certs_dir: 'none',
      docker_config: {},
    });
  });

  after(async () => {
    await larder?.close();
    await registry?.close();
    removeDirectory(directory);
  });

  /** Pulls what is there, puts another image in its place, and pulls again while HEAD says `head`. */
  async function pulledAfter(name: string, image: BuiltImage, head: string): Promise<string> {
    registry.addImage({ name, ...old });
    await using _first = await larder.pull(`${registry.host}/${name}`);
    registry.addImage({ name, ...image });
    registry.setFault(({ method }) =>
      method === 'HEAD' ? { kind: 'headers', headers: { 'docker-content-digest': head } } : undefined,
    );
    await using pulled = await larder.pull(`${registry.host}/${name}`, { cached: false });
    registry.setFault(undefined);
    return pulled.record.digest;
  }

  const layersAskedFor = (name: string): number => {
    const layers = [old, next].flatMap((image) => image.layers.map(({ digest }) => digest));
    return registry.requests.filter(({ url }) => layers.some((digest) => url.endsWith(`/${name}/blobs/${digest}`)))
      .length;
  };

  test('is believed by what it sends, when the tag moves between the two', async () => {
    assert.equal(await pulledAfter('moves', next, other.digest), next.digest);
  });

  test('is believed when it says that nothing has changed: nothing is fetched', async () => {
    assert.equal(await pulledAfter('stays', next, old.digest), old.digest);
    assert.ok(layersAskedFor('stays') <= 1);
  });

  test('is asked with GET when HEAD has no digest that could be one', async () => {
    assert.equal(await pulledAfter('nonsense', next, 'sha256:../../etc/passwd'), next.digest);
  });

  test('is asked for no layer twice when HEAD says that it changed and it has not', async () => {
    assert.equal(await pulledAfter('same', old, next.digest), old.digest);
    assert.ok(layersAskedFor('same') <= 1);
  });
});
