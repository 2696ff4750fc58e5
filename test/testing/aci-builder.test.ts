import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { parseAppcManifest } from '../../src/spec/appc-manifest.js';
import { type AciCompression, aciFileName, buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { file } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

describe('a built ACI', () => {
  const directory = makeDirectory();
  after(() => removeDirectory(directory));
  const build = (compression: AciCompression, version = '1') =>
    buildAci({
      name: 'example.com/app',
      labels: { version, os: 'linux', arch: 'amd64' },
      dependencies: [{ imageName: 'example.com/base', labels: { version: '2' } }],
      pathWhitelist: ['/etc/motd'],
      app: { exec: ['/bin/app'], user: '0', group: '0' },
      files: { 'etc/motd': 'hello\n', 'bin/app': '#!' },
      entries: [file('rootfs/extra', 'x')],
      compression,
    });

  for (const compression of ['none', 'gzip', 'bzip2', 'xz'] as const) {
    it(`with ${compression} is an archive that tar reads, and its id is the SHA-512 of the tar`, () => {
      const aci = build(compression, compression);
      const [path = ''] = writeAciDirectory(directory, [aci]);
      assert.equal(path, `${directory}/example.com/app-${compression}-linux-amd64.aci`);
      const list = execFileSync('tar', ['-tf', path], { encoding: 'utf8' }).trim().split('\n');
      const rootfs = ['rootfs/', 'rootfs/bin/', 'rootfs/etc/', 'rootfs/etc/motd', 'rootfs/bin/app', 'rootfs/extra'];
      assert.deepEqual(list, ['manifest', ...rootfs]);
      assert.equal(aci.id, `sha512-${createHash('sha512').update(aci.tar).digest('hex')}`);
      if (compression === 'none') assert.deepEqual(readFileSync(path), Buffer.from(aci.tar));
    });
  }

  it('has a manifest by the specification', () => {
    const manifest = parseAppcManifest(build('none').manifest);
    assert.deepEqual(manifest.dependencies, [
      { imageName: 'example.com/base', labels: [{ name: 'version', value: '2' }] },
    ]);
    assert.deepEqual(manifest.app?.exec, ['/bin/app']);
    assert.deepEqual(manifest.pathWhitelist, ['/etc/motd']);
  });

  it('is the same each time', () => {
    assert.deepEqual(build('gzip'), build('gzip'));
  });

  it('may have any layout', () => {
    const { tar } = buildAci({ name: 'a', compression: 'none', archive: (manifest) => [file('./manifest', manifest)] });
    assert.equal(Buffer.from(tar.subarray(0, 10)).toString(), './manifest');
    assert.equal(aciFileName({ name: 'a', labels: { os: 'linux', arch: 'i386' } }), 'a-latest-linux-i386.aci');
  });
});
