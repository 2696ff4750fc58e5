/** Appc images as sites offer them: found by meta tags over HTTPS, signed, in HDFS; and many that depend on each other. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { dirname, join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import type { BackendName } from '../../src/backends/backend.js';
import { aciFileName, type BuiltAci, buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { treeDigest } from '../../src/testing/tree-digest.js';
import { AppcLab, imageOf } from '../helpers/appc-store.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';
import { hasGnupg, KeyMaker } from '../registry/appc-keys.js';
import { hasOpenssl, makeCertificate } from '../registry/appc-server.js';

const LABELS = { version: '1' };
let lab: AppcLab;

afterEach(async () => {
  try {
    await lab.prune();
    assert.deepEqual(await lab.findings(true), []);
  } finally {
    await lab[Symbol.asyncDispose]();
  }
});

function aciOf(
  name: string,
  needs: readonly BuiltAci[] = [],
  files: Record<string, string> = { [name]: name },
): BuiltAci {
  const dependencies = needs.map((aci) => ({ imageName: aci.name, labels: aci.labels }));
  return buildAci({ name: `example.com/${name}`, labels: LABELS, files, dependencies });
}

describe('Appc images over HTTPS', { skip: hasOpenssl ? false : 'needs openssl' }, () => {
  const directory = makeDirectory();
  after(() => removeDirectory(directory));

  test('come from a server whose authority is configured, and from no other', async () => {
    const certificate = makeCertificate(directory);
    lab = await AppcLab.start({ registry_ca_files: [certificate.caFile] }, certificate);
    const [base, top] = [aciOf('base'), aciOf('top', [aciOf('base')])];
    lab.publish(base, top);
    assert.equal((await lab.get(top)).layers.length, 2);
    const strangers = await (await lab.open({ registry_ca_files: [] })).appc();
    await assert.rejects(strangers.get({ ...imageOf(top), cached: false }, 'copy'), {
      code: 'LARDER_REGISTRY_UNAVAILABLE',
    });
  });

  test('are found by the meta tags of the site that their names begin with, or of its parents', {
    skip: needsRoot,
  }, async () => {
    lab = await AppcLab.start();
    const base = onSite('base');
    const top = onSite('top', [base]);
    await using site = await Site.start(join(lab.directory, 'site'), [base, top]);
    const store = await (
      await lab.open({ registry_ca_files: [site.caFile] }, ['appc_simple_discovery_uri_prefix'])
    ).appc();
    assert.equal((await store.get(imageOf(top), 'copy')).layers.length, 2);
    const asked = [top, base].flatMap((aci) => [
      `/team/${aci.name.split('/').at(-1)}?ac-discovery=1`,
      '/team?ac-discovery=1',
      `/files/${aciFileName(aci)}`,
    ]);
    assert.deepEqual(site.asked, asked);
  });

  test('are not fetched from inside because an image from outside says so, unless one from inside says it, too', {
    skip: needsRoot,
  }, async () => {
    lab = await AppcLab.start();
    const secret = onSite('secret');
    const outside = aciOf('outside', [secret]);
    const middle = onSite('middle', [secret]);
    const [led, wanted] = [onSite('led', [outside]), onSite('wanted', [outside, middle])];
    lab.publish(secret, outside);
    // It is here, and what it depends on is so no longer by its name.
    await lab.get(outside);
    await (await (await lab.assembly()).retention('appc')).remove(`appc:${secret.name}:1`, undefined);
    await using site = await Site.start(join(lab.directory, 'site'), [secret, middle, led, wanted]);
    const store = await (
      await lab.open({ registry_ca_files: [site.caFile] }, ['appc_simple_discovery_uri_prefix'])
    ).appc();
    await assert.rejects(store.get(imageOf(led), 'copy'), { code: 'LARDER_POLICY_DENIED' });
    assert.deepEqual(
      site.asked.filter((url) => url.includes('secret')),
      [],
    );
    assert.equal((await store.get(imageOf(wanted), 'copy')).layers.length, 4);
  });
});

const HOST = '127.0.0.77';

function onSite(name: string, needs: readonly BuiltAci[] = []): BuiltAci {
  const dependencies = needs.map((aci) => ({ imageName: aci.name, labels: aci.labels }));
  return buildAci({ name: `${HOST}/team/${name}`, labels: LABELS, files: { [name]: name }, dependencies });
}

/** A site as the specification means it: HTTPS at its port, and a page that says where the images are. */
class Site implements AsyncDisposable {
  readonly asked: string[] = [];
  readonly caFile: string;
  readonly #server: Server;

  private constructor(directory: string, acis: readonly BuiltAci[]) {
    mkdirSync(directory);
    const keyFile = join(directory, 'key.pem');
    this.caFile = join(directory, 'cert.pem');
    const names = ['-subj', '/CN=site', '-addext', `subjectAltName=IP:${HOST}`];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile];
    execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, '-out', this.caFile, ...names], { stdio: 'pipe' });
    const template = `https://${HOST}/files/{name}-{version}-{os}-{arch}.{ext}`;
    const page = `<html><head><meta name="ac-discovery" content="${HOST}/team ${template}"></head></html>`;
    const files = new Map([['/team?ac-discovery=1', Buffer.from(page)]]);
    for (const aci of acis) files.set(`/files/${aciFileName(aci)}`, Buffer.from(aci.bytes));
    const certificate = { key: readFileSync(keyFile), cert: readFileSync(this.caFile) };
    this.#server = createServer(certificate, ({ url = '' }, response) => {
      this.asked.push(url);
      const body = files.get(url);
      response.writeHead(body === undefined ? 404 : 200, { 'content-length': body?.length ?? 0 }).end(body);
    });
  }

  static async start(directory: string, acis: readonly BuiltAci[]): Promise<Site> {
    const site = new Site(directory, acis);
    await new Promise<void>((resolve) => site.#server.listen(443, HOST, resolve));
    return site;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('signed Appc images', { skip: hasGnupg ? false : 'needs gnupg' }, () => {
  test('are taken with a signature of a configured key only, and what they depend on, too', async () => {
    using keys = new KeyMaker();
    const [good, other] = [keys.make('good'), keys.make('other')];
    lab = await AppcLab.start();
    const keyFile = keys.export(join(lab.directory, 'good.asc'), [good]);
    const appc_trust = { required: true, keys: { 'example.com': [keyFile] } };
    const store = await (await lab.open({ appc_trust })).appc();
    const base = aciOf('base');
    const top = aciOf('top', [base]);
    lab.publish(base, top);
    const sign = (aci: BuiltAci, key: string, bytes = aci.bytes): void =>
      void lab.server.routes.set(`/acis/${aciFileName(aci, 'aci.asc')}`, keys.sign([key], bytes));
    const refused = (message: RegExp) =>
      assert.rejects(store.get(imageOf(top), 'copy'), { code: 'LARDER_SIGNATURE_INVALID', message });
    await refused(/there is no signature/);
    sign(top, other);
    await refused(/example.com\/top/);
    sign(top, good, Buffer.from('other bytes'));
    await refused(/example.com\/top/);
    sign(top, good);
    await refused(/example.com\/base.*there is no signature/);
    assert.deepEqual([...(await lab.assembly()).records()], []);
    sign(base, good);
    assert.equal((await store.get(imageOf(top), 'copy')).layers.length, 2);
    const stranger = buildAci({ name: 'example.org/x', labels: LABELS });
    await assert.rejects(store.get(imageOf(stranger), 'copy'), {
      code: 'LARDER_SIGNATURE_INVALID',
      message: /no key is configured/,
    });
  });
});

describe('Appc images in HDFS', () => {
  test('are copied by hadoop (Mesos refused the prefix)', async () => {
    lab = await AppcLab.start();
    const hadoop_home = join(lab.directory, 'hadoop');
    const program = join(hadoop_home, 'bin', 'hadoop');
    mkdirSync(dirname(program), { recursive: true });
    const data = join(lab.directory, 'data');
    writeFileSync(
      program,
      `#!/bin/sh\n[ "$1 $2" = "fs -copyToLocal" ] || exit 255\nfrom="${data}\${3#hdfs://name:8020}"\n[ -f "$from" ] || { echo "copyToLocal: \\\`$3': No such file or directory" >&2; exit 1; }\ncp "$from" "$4"\n`,
    );
    chmodSync(program, 0o755);
    const [base, top] = [aciOf('base'), aciOf('top', [aciOf('base')])];
    writeAciDirectory(join(data, 'acis'), [base, top]);
    const assembly = await lab.open({ hadoop_home, appc_simple_discovery_uri_prefix: 'hdfs://name/acis/' });
    assert.equal((await (await assembly.appc()).get(imageOf(top), 'copy')).layers.length, 2);
    const none = imageOf(aciOf('none'));
    await assert.rejects((await assembly.appc()).get(none, 'copy'), { code: 'LARDER_IMAGE_NOT_FOUND' });
    assert.deepEqual(lab.server.requests, []);
  });
});

describe('fifty Appc images that depend on each other', () => {
  /** Each needs up to four of those before it; all change a file that all have. */
  function graph(): BuiltAci[] {
    const acis: BuiltAci[] = [];
    for (let i = 0; i < 50; i++) {
      const needs = [...new Set([i - 1, i - 2, Math.floor(i / 2), Math.floor(i / 3)])].filter((k) => k >= 0 && k < i);
      const files = { [`own/${i}`]: `${i}`, 'shared/last': `${i}`, [`pairs/${Math.floor(i / 2)}`]: `${i}` };
      acis.push(
        aciOf(
          `n${i}`,
          needs.map((k) => acis[k] ?? assert.fail()),
          files,
        ),
      );
    }
    return acis;
  }

  test('are each fetched once, in an order in which none comes before what it needs', async () => {
    lab = await AppcLab.start();
    const acis = graph();
    lab.publish(...acis);
    const top = acis.at(-1) ?? assert.fail();
    const { appcImages = [] } = await lab.get(top);
    assert.deepEqual(
      lab.counts(...acis),
      acis.map(() => 1),
    );
    const place = new Map(appcImages.map(({ name }, i) => [name, i]));
    assert.equal(place.size, 50);
    for (const aci of acis) {
      const { dependencies } = JSON.parse(Buffer.from(aci.manifest).toString()) as {
        dependencies: { imageName: string }[];
      };
      for (const { imageName } of dependencies)
        assert.ok((place.get(imageName) ?? 99) < (place.get(aci.name) ?? -1), imageName);
    }
  });

  test('are the same tree with every backend', { skip: needsRoot }, async () => {
    lab = await AppcLab.start();
    const acis = graph();
    lab.publish(...acis);
    const top = imageOf(acis.at(-1) ?? assert.fail());
    const provisioner = await (await lab.assembly()).provisioner();
    const digests = new Map<string, string>();
    for (const backend of ['erofs', 'overlay', 'copy', 'bind'] satisfies BackendName[]) {
      const { rootfs } = await provisioner.provision(backend, top, { backend });
      assert.equal(readFileSync(join(rootfs, 'shared/last'), 'utf8'), '49');
      digests.set(backend, treeDigest(rootfs, { ignoreOverlayXattrs: true }));
      assert.equal(await provisioner.destroy(backend), true);
    }
    assert.equal(new Set(digests.values()).size, 1, JSON.stringify([...digests]));
  });
});
