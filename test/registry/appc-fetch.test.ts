import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LarderEvent, OperationOptions } from '../../src/events.js';
import { AciFetcher, type AciFetcherOptions, type FetchedAci } from '../../src/registry/appc-fetch.js';
import { dependencyRequest, parseAppcManifest } from '../../src/spec/appc-manifest.js';
import { type AppcRequest, appcRequestOf, parseAppcName } from '../../src/spec/appc-name.js';
import { hostPlatform } from '../../src/spec/platform.js';
import { aciFileName, buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { hasGnupg, KeyMaker } from './appc-keys.js';
import { AppcServer, hasOpenssl, makeCertificate, redirectTo, status } from './appc-server.js';

const home = makeDirectory();
after(() => removeDirectory(home));

const ACI = buildAci({ name: '127.0.0.1/team/app', labels: { version: '1.0' }, files: { 'etc/motd': 'hello\n' } });
const FILE = aciFileName(ACI);

function requestOf(text: string): AppcRequest {
  return appcRequestOf(parseAppcName(text), hostPlatform());
}

const REQUEST = requestOf('appc:127.0.0.1/team/app:1.0');

/** The same image, asked for by the manifest of another. */
function dependencyOf(name: string): AppcRequest {
  const labels = [{ name: 'version', value: '1.0' }];
  const manifest = buildAci({ name, manifest: { dependencies: [{ imageName: ACI.name, labels }] } }).manifest;
  const [dependency] = parseAppcManifest(manifest).dependencies;
  assert.ok(dependency);
  return dependencyRequest(dependency, requestOf(`appc:${name}`));
}

/** A fetcher that gives up quickly, and what it left in its directory. */
function fetcherWith(options: AciFetcherOptions): {
  readonly fetch: (request?: AppcRequest, more?: OperationOptions) => Promise<FetchedAci>;
  readonly events: LarderEvent[];
  readonly left: () => string[];
} {
  const events: LarderEvent[] = [];
  const directory = mkdtempSync(join(home, 'work-'));
  const fetcher = new AciFetcher({ timeouts: { backoffMs: 2, stallMs: 1000, connectMs: 3000 }, ...options });
  return {
    fetch: (request = REQUEST, more = {}) =>
      fetcher.fetch(request, directory, { onEvent: (event) => events.push(event), ...more }),
    events,
    left: () => readdirSync(directory),
  };
}

function metaPage(template: string, prefix = '127.0.0.1/team'): string {
  return `<!DOCTYPE html><html><head><meta name="ac-discovery" content="${prefix} ${template}"></head></html>`;
}

/** Until the other side has had enough. */
async function sendForever(response: ServerResponse, onSent: (bytes: number) => void = () => {}): Promise<void> {
  const spaces = Buffer.alloc(65536, ' ');
  while (!response.destroyed && response.socket?.destroyed === false) {
    onSent(spaces.length);
    if (!response.write(spaces)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
    await nextTurn();
  }
}

async function refuses(
  fetching: ReturnType<typeof fetcherWith>,
  expected: object,
  request?: AppcRequest,
): Promise<void> {
  await assert.rejects(fetching.fetch(request), expected);
  assert.deepEqual(fetching.left(), []);
}

describe('an Appc image in a directory', () => {
  const directory = join(home, 'acis');
  const [path = ''] = writeAciDirectory(directory, [ACI]);

  it('is used where it lies, by an absolute path or file://', async () => {
    for (const simplePrefix of [`${directory}/`, `file://${directory}/`]) {
      const { fetch, left } = fetcherWith({ simplePrefix });
      const expected = { path, size: ACI.bytes.length, from: path, signed: false, borrowed: true };
      assert.deepEqual(await fetch(), expected);
      assert.deepEqual(left(), []);
    }
  });

  it('that is not there is not found', async () => {
    const fetching = fetcherWith({ simplePrefix: `${directory}/` });
    const expected = {
      code: 'LARDER_IMAGE_NOT_FOUND',
      message: /^fetch the Appc image: appc:127.*2\.0: there is no file/,
    };
    await refuses(fetching, expected, requestOf('appc:127.0.0.1/team/app:2.0'));
  });

  it('that is no file, or too large, is refused', async () => {
    mkdirSync(join(directory, aciFileName({ name: 'dir', labels: {} })));
    await refuses(
      fetcherWith({ simplePrefix: `${directory}/` }),
      { code: 'LARDER_ARCHIVE_INVALID' },
      requestOf('appc:dir'),
    );
    await refuses(fetcherWith({ simplePrefix: `${directory}/`, maxAciBytes: 10 }), { code: 'LARDER_LAYER_LIMIT' });
  });

  it('is looked for nowhere else', async () => {
    for (const simplePrefix of ['ftp://h/', 'srv/acis/', 'file://host/srv/', 'http://user:pw@h/', 'https:///'])
      await refuses(fetcherWith({ simplePrefix }), { code: 'LARDER_FLAGS_INVALID', message: /not http\(s\)/ });
  });
});

describe('an Appc image on a web server', () => {
  it('is fetched by its simple name into a new file', async () => {
    await using server = await AppcServer.start();
    server.routes.set(`/acis/${FILE}`, ACI.bytes);
    const { fetch, left } = fetcherWith({ simplePrefix: `${server.url}/acis/` });
    const { path, ...rest } = await fetch();
    assert.deepEqual(rest, {
      size: ACI.bytes.length,
      from: `${server.url}/acis/${FILE}`,
      signed: false,
      borrowed: false,
    });
    assert.deepEqual(readFileSync(path), Buffer.from(ACI.bytes));
    assert.equal(left().length, 1);
    assert.deepEqual(server.requests, [`/acis/${FILE}`]);
    assert.equal(server.headers[0]?.authorization, undefined);
  });

  it('that does not have it is not asked twice', async () => {
    await using server = await AppcServer.start();
    await refuses(fetcherWith({ simplePrefix: `${server.url}/` }), {
      code: 'LARDER_IMAGE_NOT_FOUND',
      message: /does not have it/,
    });
    assert.equal(server.requests.length, 1);
  });

  it('is fetched through redirects, but not in circles', async () => {
    await using server = await AppcServer.start();
    server.routes.set(`/${FILE}`, redirectTo('/moved?token=secret'));
    server.routes.set('/moved', ACI.bytes);
    const { fetch } = fetcherWith({ simplePrefix: `${server.url}/` });
    assert.equal((await fetch()).from, `${server.url}/${FILE}`);
    server.routes.set('/moved', redirectTo('/moved'));
    await refuses(fetcherWith({ simplePrefix: `${server.url}/` }), { message: /more than 5 times/ });
  });

  it('that wants a login gets none', async () => {
    await using server = await AppcServer.start();
    server.routes.set(`/${FILE}`, status(401, { 'www-authenticate': `Bearer realm="${server.url}/token"` }));
    await refuses(fetcherWith({ simplePrefix: `${server.url}/` }), { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
    assert.deepEqual(server.requests, [`/${FILE}`]);
  });

  it('is fetched again when the connection is cut, from the start', async () => {
    await using server = await AppcServer.start();
    let tries = 0;
    server.routes.set(`/${FILE}`, (_, response) => {
      response.writeHead(200, { 'content-length': ACI.bytes.length });
      if (tries++ > 1) response.end(ACI.bytes);
      else response.write(Buffer.alloc(ACI.bytes.length - 1, 'x'), () => setTimeout(() => response.destroy(), 20));
    });
    const { fetch, events } = fetcherWith({ simplePrefix: `${server.url}/` });
    assert.deepEqual(readFileSync((await fetch()).path), Buffer.from(ACI.bytes));
    assert.equal(events.filter(({ type }) => type === 'retry').length, 2);
  });

  it('that stalls is given up', async () => {
    await using server = await AppcServer.start();
    server.routes.set(`/${FILE}`, (_, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('x');
    });
    const timeouts = { stallMs: 100, backoffMs: 2 };
    await refuses(fetcherWith({ simplePrefix: `${server.url}/`, timeouts }), {
      code: 'LARDER_TIMEOUT',
      message: /no byte for 100 ms/,
    });
  });

  it('that is busy is asked again, and then given up', async () => {
    await using server = await AppcServer.start();
    server.routes.set(`/${FILE}`, status(503));
    await refuses(fetcherWith({ simplePrefix: `${server.url}/` }), { code: 'LARDER_REGISTRY_UNAVAILABLE' });
    assert.equal(server.requests.length, 4);
  });

  it('that sends more than the limit is refused, whether it says so or not', async () => {
    await using server = await AppcServer.start();
    const options = { simplePrefix: `${server.url}/`, maxAciBytes: ACI.bytes.length - 1 };
    server.routes.set(`/${FILE}`, ACI.bytes);
    await refuses(fetcherWith(options), { code: 'LARDER_LAYER_LIMIT', message: /larger than the limit/ });
    server.routes.set(`/${FILE}`, (_, response) => {
      response.writeHead(200, { 'transfer-encoding': 'chunked' });
      void sendForever(response);
    });
    await refuses(fetcherWith(options), { code: 'LARDER_LAYER_LIMIT' });
  });

  it('that encodes what it sends is refused', async () => {
    await using server = await AppcServer.start();
    server.routes.set(
      `/${FILE}`,
      (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(ACI.bytes),
    );
    await refuses(fetcherWith({ simplePrefix: `${server.url}/` }), { code: 'LARDER_MEDIA_TYPE_UNSUPPORTED' });
  });

  it('is no longer fetched when the caller has gone', async () => {
    await using server = await AppcServer.start();
    const controller = new AbortController();
    server.routes.set(`/${FILE}`, (_, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('x', () => controller.abort());
    });
    const { fetch, left } = fetcherWith({ simplePrefix: `${server.url}/` });
    await assert.rejects(fetch(REQUEST, { signal: controller.signal }), { code: 'LARDER_ABORTED' });
    assert.deepEqual(left(), []);
  });

  it('is looked for at the name’s own host when the prefix is a bare scheme', async () => {
    const { fetch } = fetcherWith({ simplePrefix: 'http://' });
    await assert.rejects(fetch(requestOf('appc:nowhere.invalid/app')), {
      message: /there is no host nowhere\.invalid/,
    });
    for (const name of ['0x7f.1/app', '127.1/app'])
      await assert.rejects(fetch(requestOf(`appc:${name}:1`)), { code: 'LARDER_REFERENCE_INVALID' }, name);
  });

  it('of this machine is out of reach for a name that a foreign image brought', async () => {
    await using server = await AppcServer.start();
    server.routes.set(`/${FILE}`, ACI.bytes);
    const request = dependencyOf('192.0.2.1/app');
    const { fetch } = fetcherWith({ simplePrefix: 'http://' });
    await assert.rejects(fetch(request), { code: 'LARDER_POLICY_DENIED', message: /loopback/ });
    assert.deepEqual(server.requests, []);
  });
});

describe('meta discovery', () => {
  const discover = (server: AppcServer, more: AciFetcherOptions = {}) =>
    fetcherWith({ discoveryPort: server.port, ...more });
  const PAGE = '/team/app';

  it('asks the page of the name, and follows its template', async () => {
    await using server = await AppcServer.start();
    server.routes.set(PAGE, metaPage(`${server.url}/{os}/{arch}/{name}-{version}.{ext}`));
    const { os, arch } = REQUEST.labels;
    server.routes.set(`/${os}/${arch}/127.0.0.1/team/app-1.0.aci`, ACI.bytes);
    const { fetch, left } = discover(server);
    assert.deepEqual(readFileSync((await fetch()).path), Buffer.from(ACI.bytes));
    assert.equal(left().length, 1);
    assert.equal(server.requests[0], '/team/app?ac-discovery=1');
  });

  it('steps up the path where a page is missing, is denied, or knows nothing of the image', async () => {
    await using server = await AppcServer.start();
    const request = requestOf('appc:127.0.0.1/team/app/deep/er:1.0');
    server.routes.set('/team/app/deep', status(403));
    server.routes.set('/team/app', metaPage(`${server.url}/{ext}`, 'other.example'));
    server.routes.set('/team', '<p>nothing</p>');
    server.routes.set('/', metaPage(`${server.url}/file.{ext}`, '127.0.0.1'));
    server.routes.set('/file.aci', ACI.bytes);
    await discover(server).fetch(request);
    const pages = ['/team/app/deep/er', '/team/app/deep', '/team/app', '/team', '/'];
    assert.deepEqual(server.requests, [...pages.map((page) => `${page}?ac-discovery=1`), '/file.aci']);
  });

  it('ends with the host', async () => {
    await using server = await AppcServer.start();
    await refuses(discover(server), {
      code: 'LARDER_IMAGE_NOT_FOUND',
      message: /no page of 127\.0\.0\.1.* says where/,
    });
    assert.equal(server.requests.length, 3);
  });

  it('does not step up when the server is out of order', async () => {
    await using server = await AppcServer.start();
    server.routes.set(PAGE, status(500));
    await refuses(discover(server), { code: 'LARDER_REGISTRY_UNAVAILABLE' });
    assert.ok(server.requests.every((each) => each === '/team/app?ac-discovery=1'));
  });

  it('goes on with the next place where one has nothing', async () => {
    await using server = await AppcServer.start();
    const tags = [metaPage(`${server.url}/a.{ext}`), metaPage(`${server.url}/b.{ext}`)].map((page) =>
      page.replace(/.*(<meta[^>]*>).*/, '$1'),
    );
    server.routes.set(PAGE, tags.join(''));
    server.routes.set('/b.aci', ACI.bytes);
    assert.equal((await discover(server).fetch()).from, `${server.url}/b.aci`);
    server.routes.delete('/b.aci');
    await refuses(discover(server), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });

  it('follows redirects of the page', async () => {
    await using server = await AppcServer.start();
    server.routes.set(PAGE, redirectTo('/elsewhere'));
    server.routes.set('/elsewhere', metaPage(`${server.url}/x.{ext}`));
    server.routes.set('/x.aci', ACI.bytes);
    assert.equal((await discover(server).fetch()).from, `${server.url}/x.aci`);
  });

  it('reads no more of a page than half a megabyte', async () => {
    await using server = await AppcServer.start();
    let sent = 0;
    server.routes.set(PAGE, (_, response) => {
      response.writeHead(200);
      response.write(metaPage(`${server.url}/x.{ext}`).replace(/<\/head>.*/, ''));
      void sendForever(response, (bytes) => {
        sent += bytes;
      });
    });
    server.routes.set('/x.aci', ACI.bytes);
    await discover(server).fetch();
    assert.ok(sent < 32 * 1024 * 1024, `${sent}`);
  });

  it('is not sent over plain HTTP to another machine by a page', async () => {
    await using server = await AppcServer.start();
    server.routes.set(PAGE, metaPage('http://images.example/{name}.{ext}'));
    await refuses(discover(server), {
      code: 'LARDER_POLICY_DENIED',
      message: /plain HTTP only/,
      hint: /insecure_registries/,
    });
  });

  it('is not sent to the machine’s neighbours by a page or a redirect', async () => {
    await using server = await AppcServer.start();
    server.routes.set(PAGE, metaPage('https://169.254.169.254/{name}.{ext}'));
    await refuses(discover(server), { code: 'LARDER_POLICY_DENIED', message: /link-local/ });
    server.routes.set(PAGE, metaPage(`${server.url}/x.{ext}`));
    server.routes.set('/x.aci', redirectTo('http://169.254.169.254/latest/meta-data'));
    await refuses(discover(server), { code: 'LARDER_POLICY_DENIED', message: /link-local/ });
  });

  it('for a dependency has the reach of the image that names it', async () => {
    await using server = await AppcServer.start();
    const { fetch } = discover(server);
    const request = dependencyOf('192.0.2.1/app');
    await assert.rejects(fetch(request), { code: 'LARDER_POLICY_DENIED', message: /loopback/ });
    assert.deepEqual(server.requests, []);
  });

  describe('over TLS', { skip: hasOpenssl ? false : 'openssl is not installed' }, () => {
    const certificate = hasOpenssl ? makeCertificate(mkdtempSync(join(home, 'tls-'))) : undefined;
    const secure = (): Promise<AppcServer> => AppcServer.start(certificate);
    const caFiles = [certificate?.caFile ?? ''];

    it('asks with HTTPS', async () => {
      await using server = await secure();
      server.routes.set(PAGE, metaPage(`${server.url}/x.{ext}`));
      server.routes.set('/x.aci', ACI.bytes);
      assert.equal((await discover(server, { caFiles }).fetch()).from, `${server.url}/x.aci`);
    });

    it('trusts nobody’s certificate, unless the host was named insecure', async () => {
      await using server = await secure();
      server.routes.set(PAGE, metaPage(`${server.url}/x.{ext}`));
      server.routes.set('/x.aci', ACI.bytes);
      await refuses(discover(server), { code: 'LARDER_REGISTRY_UNAVAILABLE' });
      assert.deepEqual(server.requests, []);
      await discover(server, { insecureRegistries: [`127.0.0.1:${server.port}`] }).fetch();
    });

    it('does not leave it by a redirect', async () => {
      await using server = await secure();
      await using plain = await AppcServer.start();
      server.routes.set(PAGE, metaPage(`${server.url}/x.{ext}`));
      server.routes.set('/x.aci', redirectTo(`${plain.url}/x.aci`));
      await refuses(discover(server, { caFiles }), { code: 'LARDER_POLICY_DENIED', message: /from https to http/ });
      assert.deepEqual(plain.requests, []);
    });
  });
});

describe('an Appc image that must be signed', { skip: hasGnupg ? false : 'gpg and gpgv are not installed' }, () => {
  const maker = new KeyMaker();
  after(() => maker[Symbol.dispose]());
  const good = hasGnupg ? maker.make('good') : '';
  const other = hasGnupg ? maker.make('other') : '';
  const keyFile = join(home, 'keys.asc');
  if (hasGnupg) maker.export(keyFile, [good]);
  const trust = { required: false, keys: { '127.0.0.1/team': [keyFile] } };
  const offer = (server: AppcServer, signature?: Uint8Array): void => {
    server.routes.set(`/${FILE}`, ACI.bytes);
    if (signature !== undefined) server.routes.set(`/${FILE}.asc`, signature);
  };

  it('says who signed it', async () => {
    await using server = await AppcServer.start();
    offer(server, maker.sign([good], ACI.bytes));
    const { fetch, left } = fetcherWith({ simplePrefix: `${server.url}/`, trust });
    const { signed, signer } = await fetch();
    assert.deepEqual([signed, signer], [true, good]);
    assert.equal(left().length, 1);
  });

  it('is found with its signature by meta discovery, too', async () => {
    await using server = await AppcServer.start();
    server.routes.set('/team/app', metaPage(`${server.url}/sub/{name}-{version}-{os}-{arch}.{ext}`));
    server.routes.set(`/sub/${FILE}`, ACI.bytes);
    server.routes.set(`/sub/${FILE}.asc`, maker.sign([good], ACI.bytes));
    assert.equal((await fetcherWith({ discoveryPort: server.port, trust }).fetch()).signed, true);
  });

  it('in a directory is copied before it is verified, so that nobody changes it in between', async () => {
    const directory = join(home, 'signed');
    const [path = ''] = writeAciDirectory(directory, [ACI]);
    writeFileSync(`${path}.asc`, maker.sign([good], ACI.bytes));
    const fetched = await fetcherWith({ simplePrefix: `${directory}/`, trust }).fetch();
    assert.deepEqual([fetched.signed, fetched.borrowed, fetched.from], [true, false, path]);
    assert.deepEqual(readFileSync(fetched.path), Buffer.from(ACI.bytes));
  });

  it('is refused without a signature, and before it was downloaded', async () => {
    await using server = await AppcServer.start();
    offer(server);
    await refuses(fetcherWith({ simplePrefix: `${server.url}/`, trust }), {
      code: 'LARDER_SIGNATURE_INVALID',
      message: /there is no signature for it/,
      hint: /\.aci\.asc/,
    });
  });

  it('that is not there at all is not found', async () => {
    await using server = await AppcServer.start();
    await refuses(fetcherWith({ simplePrefix: `${server.url}/`, trust }), { code: 'LARDER_IMAGE_NOT_FOUND' });
  });

  it('is refused when the signature is by another key, or of the tar instead of the file', async () => {
    await using server = await AppcServer.start();
    offer(server, maker.sign([other], ACI.bytes));
    await refuses(fetcherWith({ simplePrefix: `${server.url}/`, trust }), { code: 'LARDER_SIGNATURE_INVALID' });
    offer(server, maker.sign([good], ACI.tar));
    await refuses(fetcherWith({ simplePrefix: `${server.url}/`, trust }), {
      code: 'LARDER_SIGNATURE_INVALID',
      message: /does not fit/,
    });
  });

  it('is not asked for where no key is configured for its name and signatures are required', async () => {
    await using server = await AppcServer.start();
    offer(server);
    const strict = { required: true, keys: { 'example.com': [keyFile] } };
    await refuses(fetcherWith({ simplePrefix: `${server.url}/`, trust: strict }), { code: 'LARDER_SIGNATURE_INVALID' });
    assert.deepEqual(server.requests, []);
  });
});

describe('an Appc image in HDFS', () => {
  const hadoopHome = join(home, 'hadoop');
  const data = join(home, 'hdfs');
  const program = join(hadoopHome, 'bin', 'hadoop');
  mkdirSync(dirname(program), { recursive: true });
  const install = (body: string): void => {
    writeFileSync(program, `#!/bin/sh\n${body}\n`);
    chmodSync(program, 0o755);
  };
  /** As the real one: another name first, one status for all failures. */
  const WORKING = `echo "$@" >> ${home}/hadoop.log
[ "$1 $2" = "fs -copyToLocal" ] || exit 255
path=\${3#hdfs://name:8020}
[ -f "${data}$path" ] || { echo "copyToLocal: \\\`$3': No such file or directory" >&2; exit 1; }
cp "${data}$path" "$4._COPYING_" && mv "$4._COPYING_" "$4"`;
  const fetcher = (simplePrefix: string, more: AciFetcherOptions = {}) =>
    fetcherWith({ simplePrefix, hadoopHome, ...more });
  writeAciDirectory(join(data, 'acis'), [ACI]);

  it('is copied by hadoop, with the port filled in, or by its path alone', async () => {
    install(WORKING);
    for (const prefix of ['hdfs://name/acis/', 'hdfs://name:8020/acis/', 'hdfs:///acis/']) {
      const { path, size, borrowed } = await fetcher(prefix).fetch();
      assert.deepEqual([size, borrowed], [ACI.bytes.length, false]);
      assert.deepEqual(readFileSync(path), Buffer.from(ACI.bytes));
    }
    const log = readFileSync(join(home, 'hadoop.log'), 'utf8');
    assert.match(log, /^fs -copyToLocal hdfs:\/\/name:8020\/acis\/127\.0\.0\.1\/team\/app-1\.0-/m);
    assert.match(log, /^fs -copyToLocal \/acis\//m);
  });

  it('that is not there is not found, and what else hadoop says is passed on', async () => {
    install(WORKING);
    await refuses(fetcher('hdfs://name/none/'), { code: 'LARDER_IMAGE_NOT_FOUND' });
    install('echo "x" > "$4._COPYING_"; echo "Connection refused: name" >&2; exit 1');
    await refuses(fetcher('hdfs://name/acis/'), {
      code: 'LARDER_REGISTRY_UNAVAILABLE',
      message: /Connection refused: name/,
    });
  });

  it('that is too large is not kept', async () => {
    install(WORKING);
    await refuses(fetcher('hdfs://name/acis/', { maxAciBytes: 10 }), { code: 'LARDER_LAYER_LIMIT' });
  });

  it('needs a Hadoop where the settings say that it is', async () => {
    await refuses(fetcherWith({ simplePrefix: 'hdfs://name/acis/', hadoopHome: join(home, 'none') }), {
      code: 'LARDER_BACKEND_UNAVAILABLE',
      hint: /hadoop_home/,
    });
  });
});
