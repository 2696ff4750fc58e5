/** The registry face over real sockets: what is served, from where, and to whom. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { digestOf } from '../../src/spec/digest.js';
import { OCI_MANIFEST } from '../../src/spec/media-types.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { buildImage, buildIndex } from '../../src/testing/image-builder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { basic, Faced, inPath } from './fixture.js';

const LAYER = sampleLayer('base', 300_000);

describe('what is served', () => {
  let source: ImageSource;

  beforeEach(async () => {
    source = await ImageSource.start();
  });

  afterEach(() => source[Symbol.asyncDispose]());

  const at = (name: string): string => `/v2/${inPath(source.registry.host)}/${name}`;

  test('an image that is not here comes through byte for byte, and its layer is asked for once', async () => {
    const image = source.publish('app', [LAYER]);
    await using faced = await Faced.open();
    const manifest = await faced.ask(`${at('app')}/manifests/latest`);
    assert.equal(manifest.status, 200);
    assert.equal(manifest.headers['content-type'], OCI_MANIFEST);
    assert.equal(manifest.headers['docker-content-digest'], image.digest);
    assert.deepEqual(manifest.body, Buffer.from(image.manifest));
    for (let i = 0; i < 2; i++) {
      for (const blob of image.blobs) {
        const { status, body, headers } = await faced.ask(`${at('app')}/blobs/${digestOf(blob)}`);
        assert.equal(status, 200);
        assert.equal(headers['docker-content-digest'], digestOf(blob));
        assert.ok(body.equals(blob));
      }
    }
    assert.equal(source.requests('layer').length, 1);
    assert.equal(source.requests('config').length, 1);
  });

  test('an image index is served as it is, and then what it names for any platform', async () => {
    const images = ['linux/amd64', 'linux/arm64/v8'].map((platform) =>
      buildImage({ layers: [{ tar: sampleLayer(platform) }], platform }),
    );
    const digest = source.publishIndex('multi', images);
    await using faced = await Faced.open();
    assert.equal((await faced.ask(`${at('multi')}/manifests/latest`)).headers['docker-content-digest'], digest);
    for (const image of images) {
      const { body } = await faced.ask(`${at('multi')}/manifests/${image.digest}`);
      assert.ok(body.equals(image.manifest));
    }
  });

  test('what a pull brought needs nobody but for the meaning of the tag', async () => {
    const image = source.publish('app', [LAYER, { tar: sampleLayer('top'), compression: 'none' }]);
    await using faced = await Faced.open({ keep_blobs: true });
    await using _pulled = await faced.larder.pull(source.reference('app'));
    await faced.ask(`${at('app')}/manifests/latest`);
    const before = source.registry.requests.length;
    assert.equal((await faced.ask(`${at('app')}/manifests/${image.digest}`)).status, 200);
    for (const blob of image.blobs) {
      assert.ok((await faced.ask(`${at('app')}/blobs/${digestOf(blob)}`)).body.equals(blob));
    }
    assert.equal(source.registry.requests.length, before);
    await faced.ask(`${at('app')}/manifests/latest`);
    assert.deepEqual(
      source.registry.requests.slice(before).map(({ method }) => method),
      ['HEAD'],
    );
  });

  test('an uncompressed layer is its tar, also where no blobs are kept', async () => {
    const top = { tar: sampleLayer('top'), compression: 'none' } as const;
    source.publish('app', [top]);
    await using faced = await Faced.open();
    await using _pulled = await faced.larder.pull(source.reference('app'));
    await faced.ask(`${at('app')}/manifests/latest`);
    const before = source.requests('layer').length;
    assert.ok((await faced.ask(`${at('app')}/blobs/${digestOf(top.tar)}`)).body.equals(top.tar));
    assert.equal(source.requests('layer').length, before);
  });

  test('a pull after it takes the layer that it fetched', async () => {
    for (const flags of [{}, { keep_blobs: true }]) {
      const image = source.publish('app', [sampleLayer(JSON.stringify(flags), 5000)]);
      await using faced = await Faced.open(flags);
      for (const path of ['manifests/latest', ...image.blobs.map((blob) => `blobs/${digestOf(blob)}`)])
        assert.equal((await faced.ask(`${at('app')}/${path}`)).status, 200);
      const before = source.requests('layer').length;
      await using _pulled = await faced.larder.pull(source.reference('app'));
      assert.equal(source.requests('layer').length, before, JSON.stringify(flags));
      for await (const finding of faced.larder.check({ deep: true })) assert.notEqual(finding.kind, 'fault');
    }
  });

  test('many who want a layer at once are served from one request', async () => {
    const image = source.publish('app', [LAYER]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    await using faced = await Faced.open();
    await faced.ask(`${at('app')}/manifests/latest`);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => faced.ask(`${at('app')}/blobs/${digestOf(layer)}`)),
    );
    for (const { body } of answers) assert.ok(body.equals(layer));
    assert.equal(source.requests('layer').length, 1);
  });

  test('ranges and conditions are answered as HTTP has them', async () => {
    const image = source.publish('app', [LAYER]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    const digest = digestOf(layer);
    await using faced = await Faced.open();
    const ask = (headers: Record<string, string>, method = 'GET') =>
      faced.ask(`${at('app')}/blobs/${digest}`, { headers, method });
    const head = await ask({}, 'HEAD');
    assert.equal(head.headers['content-length'], String(layer.length));
    assert.equal(source.requests('layer').filter(({ offset }) => offset === 0).length > 0, true);
    for (const [start, end] of [
      [0, 1],
      [100, 200],
      [layer.length - 1, layer.length],
    ] as const) {
      const part = await ask({ range: `bytes=${start}-${end - 1}` });
      assert.equal(part.status, 206);
      assert.equal(part.headers['content-range'], `bytes ${start}-${end - 1}/${layer.length}`);
      assert.ok(part.body.equals(layer.subarray(start, end)));
    }
    const beyond = await ask({ range: `bytes=${layer.length}-` });
    assert.equal(beyond.status, 416);
    assert.equal(beyond.headers['content-range'], `bytes */${layer.length}`);
    assert.equal((await ask({ range: 'bytes=5-', 'if-range': `"${digest}"` })).status, 206);
    assert.equal((await ask({ range: 'bytes=5-', 'if-range': '"another"' })).status, 200);
    assert.equal((await ask({ 'if-none-match': `"${digest}"` })).status, 304);
  });

  test('where the registry is away a tag is what it was last, and what is not here is 503', async () => {
    const image = source.publish('app', [LAYER]);
    await using faced = await Faced.open({ keep_blobs: true });
    await using _pulled = await faced.larder.pull(source.reference('app'));
    await faced.ask(`${at('app')}/manifests/latest`);
    source.setFault(() => ({ kind: 'status', status: 503, headers: { 'retry-after': '1000' } }));
    const manifest = await faced.ask(`${at('app')}/manifests/latest`);
    assert.equal(manifest.headers['docker-content-digest'], image.digest);
    for (const blob of image.blobs) assert.equal((await faced.ask(`${at('app')}/blobs/${digestOf(blob)}`)).status, 200);
    const other = await faced.ask(`${at('other')}/manifests/latest`);
    assert.ok(other.status === 503 || other.status === 429, String(other.status));
    assert.equal(JSON.parse(other.body.toString()).errors.length, 1);
  });

  test('a layer that is not what its digest says never arrives whole', async () => {
    const image = source.publish('app', [LAYER]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    await using faced = await Faced.open();
    await faced.ask(`${at('app')}/manifests/latest`);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'wrong-bytes' } : undefined));
    const wrong = await faced.ask(`${at('app')}/blobs/${digestOf(layer)}`);
    assert.ok(!wrong.whole);
    assert.ok(wrong.body.length < layer.length);
    source.setFault();
    assert.ok((await faced.ask(`${at('app')}/blobs/${digestOf(layer)}`)).body.equals(layer));
  });

  test('a reader that leaves ends the download, and the next one goes on from there', async () => {
    const image = source.publish('app', [{ tar: sampleLayer('big', 2_000_000), compression: 'none' }]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    await using faced = await Faced.open();
    await faced.ask(`${at('app')}/manifests/latest`);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1_000_000 } : undefined));
    const response = await faced.begin(`${at('app')}/blobs/${digestOf(layer)}`);
    await once(response, 'readable');
    response.destroy();
    const isFree = async (): Promise<boolean> => {
      for await (const { busy } of faced.assembly.content.listIngests()) if (busy) return false;
      return true;
    };
    await until(isFree, 'the download has ended');
    source.setFault();
    assert.ok((await faced.ask(`${at('app')}/blobs/${digestOf(layer)}`)).body.equals(layer));
    assert.ok((source.requests('layer').at(-1)?.offset ?? 0) > 0);
  });

  test('a reader that does not read is cut off', async () => {
    const image = source.publish('app', [{ tar: sampleLayer('big', 16_000_000), compression: 'none' }]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    const told: string[] = [];
    await using faced = await Faced.open(
      {},
      { slowReaderMs: 50, onEvent: (event) => event.type === 'debug' && told.push(event.message) },
    );
    await faced.ask(`${at('app')}/manifests/latest`);
    const response = await faced.begin(`${at('app')}/blobs/${digestOf(layer)}`);
    await until(() => told.some((line) => line.includes('/blobs/')), 'it was given up');
    let received = 0;
    await assert.rejects(async () => {
      for await (const piece of response as AsyncIterable<Buffer>) received += piece.length;
    });
    assert.ok(received < layer.length);
  });

  test('it ends in the middle of a download', async () => {
    const image = source.publish('app', [{ tar: sampleLayer('big', 2_000_000), compression: 'none' }]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    await using faced = await Faced.open();
    await faced.ask(`${at('app')}/manifests/latest`);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1_000_000 } : undefined));
    const asked = faced.ask(`${at('app')}/blobs/${digestOf(layer)}`).catch(() => ({ whole: false }));
    await until(() => source.requests('layer').length > 0, 'it is under way');
    await faced.face.stop(0);
    assert.ok(!(await asked).whole);
  });

  test('what would take the space that is to stay free is refused before its first byte', async () => {
    const image = source.publish('app', [LAYER]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    await using faced = await Faced.open({ reserved_disk_bytes: Number.MAX_SAFE_INTEGER });
    await faced.ask(`${at('app')}/manifests/latest`);
    const { status, body } = await faced.ask(`${at('app')}/blobs/${digestOf(layer)}`);
    assert.equal(status, 503);
    assert.match(body.toString(), /are free/);
    assert.equal(source.requests('layer').length, 0);
  });

  test('a registry that has become silent holds up neither the end, nor the next who asks', async () => {
    const image = source.publish('app', [{ tar: sampleLayer('big', 2_000_000), compression: 'none' }]);
    const [, layer = Buffer.alloc(0)] = image.blobs;
    const path = `${at('app')}/blobs/${digestOf(layer)}`;
    await using faced = await Faced.open();
    await faced.ask(`${at('app')}/manifests/latest`);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1_000_000 } : undefined));
    const leaving = await faced.begin(path);
    leaving.on('error', () => {}).resume();
    leaving.destroy();
    // Long before the registry counts as dead.
    await until(async () => {
      source.setFault();
      return (await faced.ask(path)).body.equals(layer);
    }, 'the next one is served');
    const other = source.publish('other', [{ tar: sampleLayer('other', 2_000_000), compression: 'none' }]);
    await faced.ask(`${at('other')}/manifests/latest`);
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 1_000_000 } : undefined));
    const [, last = Buffer.alloc(0)] = other.blobs;
    const stalled = await faced.begin(`${at('other')}/blobs/${digestOf(last)}`);
    stalled.on('error', () => {});
    let received = 0;
    stalled.on('data', (piece: Buffer) => {
      received += piece.length;
    });
    await until(() => received === 1_000_000, 'nothing more comes');
    const begun = performance.now();
    await faced.face.stop(0);
    assert.ok(performance.now() - begun < 20_000);
  });

  test('it does not ask itself', async () => {
    await using faced = await Faced.open();
    const { port } = faced.face;
    assert.equal((await faced.ask(`/v2/127.0.0.1__${port}/app/manifests/latest`)).status, 400);
    assert.equal((await faced.ask(`/v2/app/manifests/latest?ns=localhost:${port}`)).status, 400);
  });

  test('a pull of the same store may go through it, and it does not ask itself for a mirror', async () => {
    source.publish('app', [LAYER]);
    const directory = makeDirectory();
    const conf = join(directory, 'registries.conf');
    await using faced = await Faced.open({ registries_conf: conf });
    const { host } = source.registry;
    const location = `127.0.0.1:${faced.face.port}`;
    writeFileSync(
      conf,
      `[[registry]]\nlocation = "${host}"\ninsecure = true\n[[registry.mirror]]\nlocation = "${location}/${inPath(host)}"\ninsecure = true\n`,
    );
    // The pull has the layer's download in its hands, and the face must not wait for that.
    await using _pulled = await faced.larder.pull(source.reference('app'));
    const agents = source.registry.requests.map(({ headers }) => headers['user-agent'] ?? '');
    assert.ok(agents.length > 0 && agents.every((agent) => agent.startsWith('larder-serve/')), agents.join());
    removeDirectory(directory);
  });

  test("two that are each other's mirrors ask the registry in the end", async () => {
    const image = source.publish('app', [LAYER]);
    const directory = makeDirectory();
    const conf = join(directory, 'registries.conf');
    await using one = await Faced.open({ registries_conf: conf });
    await using two = await Faced.open({ registries_conf: conf });
    const { host } = source.registry;
    const mirrors = [one, two].map(
      ({ face }) => `[[registry.mirror]]\nlocation = "127.0.0.1:${face.port}/${inPath(host)}"\ninsecure = true\n`,
    );
    writeFileSync(conf, `[[registry]]\nlocation = "${host}"\ninsecure = true\n${mirrors.join('')}`);
    assert.ok((await one.ask(`${at('app')}/manifests/latest`)).body.equals(image.manifest));
    for (const blob of image.blobs) {
      assert.ok((await one.ask(`${at('app')}/blobs/${digestOf(blob)}`)).body.equals(blob));
    }
    assert.equal(source.requests('layer').length, 1);
    const [agent = ''] = source.registry.requests.map(({ headers }) => headers['user-agent'] ?? '').slice(-1);
    assert.match(agent, /^larder-serve\/[0-9a-f]{16} larder-serve\/[0-9a-f]{16}$/);
    removeDirectory(directory);
  });

  test('only the registries that are named are asked, where some are', async () => {
    source.publish('app', [LAYER]);
    await using faced = await Faced.open({}, { upstreams: ['quay.io'] });
    assert.equal((await faced.ask(`${at('app')}/manifests/latest`)).status, 403);
    assert.equal(source.registry.requests.length, 0);
  });

  test('a web page of this machine that calls it by another name is refused', async () => {
    await using faced = await Faced.open();
    assert.equal((await faced.ask('/v2/', { headers: { host: 'evil.example' } })).status, 421);
    assert.equal((await faced.ask('/v2/', { headers: { host: `localhost:${faced.face.port}` } })).status, 200);
  });

  test('nothing can be pushed, and what is too long is refused', async () => {
    await using faced = await Faced.open();
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      const { status, body, headers } = await faced.ask('/v2/app/blobs/uploads/', { method, body: 'x' });
      assert.equal(status, 405);
      assert.equal(headers.allow, 'GET, HEAD');
      assert.equal(JSON.parse(body.toString()).errors[0].code, 'UNSUPPORTED');
    }
    assert.equal((await faced.ask(`/v2/${'a/'.repeat(3000)}manifests/x`)).status, 414);
    assert.equal((await faced.ask('/v2/', { headers: { 'x-long': 'x'.repeat(20_000) } })).status, 431);
    assert.equal((await faced.ask('/v2/')).status, 200);
  });

  test('what is no HTTP is answered, and harms nobody', async () => {
    await using faced = await Faced.open();
    for (const text of [
      '\0\0\0\r\n\r\n',
      'GET /v2/\r\n\r\n',
      'GET /v2/ HTTP/1.1\r\nhost: localhost\r\nhost: x\r\n\r\n',
    ]) {
      const socket = connect(faced.face.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      socket.end(text);
      await once(socket, 'close');
    }
    assert.equal((await faced.ask('/v2/')).status, 200);
  });
});

describe('who is served', () => {
  const LOGIN = 'user:secret';

  async function privateSource(): Promise<ImageSource> {
    const [username = '', password = ''] = LOGIN.split(':');
    return new ImageSource(await startRegistry({ auth: { type: 'basic', username, password } }));
  }

  function loginAt(host: string): { docker_config: string } {
    const auth = Buffer.from(LOGIN).toString('base64');
    return { docker_config: JSON.stringify({ auths: { [host]: { auth } } }) };
  }

  test('what a login brought into the store is for nobody who has none, and for who has it', async () => {
    await using source = await privateSource();
    const image = source.publish('app', [LAYER]);
    await using faced = await Faced.open({ keep_blobs: true, ...loginAt(source.registry.host) });
    await using _pulled = await faced.larder.pull(source.reference('app'));
    const name = `/v2/${inPath(source.registry.host)}/app`;
    const paths = ['manifests/latest', `manifests/${image.digest}`, ...image.blobs.map((b) => `blobs/${digestOf(b)}`)];
    const ask = async (headers: Readonly<Record<string, string>>, method = 'GET') => {
      const statuses: number[] = [];
      for (const path of paths) statuses.push((await faced.ask(`${name}/${path}`, { headers, method })).status);
      return [...new Set(statuses)];
    };
    assert.deepEqual(await ask({}), [401]);
    assert.deepEqual(await ask({}, 'HEAD'), [401]);
    assert.deepEqual(await ask(basic('user:wrong')), [401]);
    assert.deepEqual(await ask({ authorization: 'Bearer anything' }), [401]);
    assert.deepEqual(await ask(basic(LOGIN)), [200]);
    // That somebody was let in opens it for nobody else.
    assert.deepEqual(await ask({}), [401]);
    const { headers } = await faced.ask(`${name}/manifests/latest`);
    assert.match(headers['www-authenticate'] ?? '', /^Basic realm="127\.0\.0\.1:\d+\/app"$/);
  });

  test('a digest of a private repository is nothing under the name of a public one', async () => {
    await using hidden = await privateSource();
    await using open = await ImageSource.start();
    const image = hidden.publish('app', [LAYER]);
    open.publish('app', [sampleLayer('open')]);
    await using faced = await Faced.open({ keep_blobs: true, ...loginAt(hidden.registry.host) });
    await using _pulled = await faced.larder.pull(hidden.reference('app'));
    await using _other = await faced.larder.pull(open.reference('app'));
    const name = `/v2/${inPath(open.registry.host)}/app`;
    assert.equal((await faced.ask(`${name}/manifests/latest`)).status, 200);
    assert.equal((await faced.ask(`${name}/manifests/${image.digest}`)).status, 404);
    for (const blob of image.blobs) {
      const { status, body } = await faced.ask(`${name}/blobs/${digestOf(blob)}`);
      assert.equal(status, 404);
      assert.ok(!body.includes(Buffer.from(blob)));
    }
  });

  test('a registry that only says that it has what is here gets nobody served', async () => {
    await using hidden = await privateSource();
    await using evil = await ImageSource.start();
    const image = hidden.publish('app', [LAYER]);
    const [config = Buffer.alloc(0), layer = Buffer.alloc(0)] = image.blobs;
    await using faced = await Faced.open({ keep_blobs: true, ...loginAt(hidden.registry.host) });
    await using _pulled = await faced.larder.pull(hidden.reference('app'));
    const { registry } = evil;
    const index = buildIndex([image]);
    registry.addManifest('app', 'named', image.manifest, image.mediaType);
    registry.addManifest('app', 'index', index.manifest, index.mediaType);
    registry.addManifest('app', 'claimed', Buffer.from('{}'), image.mediaType);
    // Every HEAD is a yes; what only the other registry has it cannot send.
    registry.setFault(({ method, url }) => {
      const length = url.includes(digestOf(layer)) ? layer.length : config.length;
      const headers = { 'docker-content-digest': image.digest, 'content-length': String(length) };
      if (method === 'HEAD') return { kind: 'status', status: 200, headers };
      return url.includes(`@${image.digest}`) || url.includes(`/${image.digest}`)
        ? { kind: 'status', status: 404 }
        : undefined;
    });
    const name = `/v2/${inPath(registry.host)}/app`;
    assert.equal((await faced.ask(`${name}/manifests/index`)).status, 200);
    for (const path of [
      `manifests/${image.digest}`,
      'manifests/claimed',
      ...image.blobs.map((b) => `blobs/${digestOf(b)}`),
    ]) {
      const { status, body } = await faced.ask(`${name}/${path}`);
      assert.ok(status >= 400, `${path}: ${status} ${body.length}`);
    }
    assert.equal((await faced.ask(`${name}/manifests/named`)).status, 200);
    for (const blob of image.blobs) assert.ok((await faced.ask(`${name}/blobs/${digestOf(blob)}`)).status >= 400);
  });

  test('a login goes to the registry that it was sent for and to no other', async () => {
    await using open = await ImageSource.start();
    await using other = await ImageSource.start();
    open.publish('app', [LAYER]);
    other.publish('app', [LAYER]);
    await using faced = await Faced.open();
    for (const { registry } of [open, other]) {
      const { status } = await faced.ask(`/v2/${inPath(registry.host)}/app/manifests/latest`, {
        headers: basic(LOGIN),
      });
      assert.equal(status, 200);
      // Nobody asked for it.
      assert.ok(registry.requests.every(({ headers }) => headers.authorization === undefined));
    }
  });

  test('who is told to share all shares all', async () => {
    await using source = await privateSource();
    source.publish('app', [LAYER]);
    await using faced = await Faced.open(loginAt(source.registry.host), { sharePrivate: true });
    assert.equal((await faced.ask(`/v2/${inPath(source.registry.host)}/app/manifests/latest`)).status, 200);
  });

  test('that everybody may have a repository is remembered, for when its registry is away', async () => {
    const source = await ImageSource.start();
    const image = source.publish('app', [LAYER]);
    await using faced = await Faced.open({ keep_blobs: true });
    await using _pulled = await faced.larder.pull(source.reference('app'));
    const name = `/v2/${inPath(source.registry.host)}/app`;
    assert.equal((await faced.ask(`${name}/manifests/latest`)).status, 200);
    await source[Symbol.asyncDispose]();
    assert.equal((await faced.ask(`${name}/manifests/${image.digest}`)).status, 200);
    assert.equal((await faced.ask(`${name}/manifests/latest`)).status, 200);
  });
});
