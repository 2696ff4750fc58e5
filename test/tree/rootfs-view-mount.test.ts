/** A real Appc image, made by GNU tar, through the index, the view and the EROFS writer, looked at through the kernel. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { writeErofs } from '../../src/erofs/write-erofs.js';
import { mayMount } from '../../src/linux/capabilities.js';
import { mountErofs } from '../../src/linux/erofs-mount.js';
import { unmount } from '../../src/linux/mount.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { TarReader } from '../../src/tar/reader.js';
import { IndexBuilder } from '../../src/tree/index-builder.js';
import { mergeLayers } from '../../src/tree/merge.js';
import { whitelistSet } from '../../src/tree/path-whitelist.js';
import { aciFilesOf, rootfsView } from '../../src/tree/rootfs-view.js';

describe('an Appc image mounted', mayMount() ? {} : { skip: 'needs root: it mounts what was written' }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'larder-aci-mount-'));
  const rootfs = join(directory, 'rootfs');
  const archive = join(directory, 'image.tar');
  const target = join(directory, 'mnt');

  before(() => {
    mkdirSync(join(rootfs, 'usr/bin'), { recursive: true });
    mkdirSync(join(rootfs, 'empty'), { mode: 0o700 });
    mkdirSync(target);
    writeFileSync(join(directory, 'manifest'), '{}');
    writeFileSync(join(rootfs, 'usr/bin/tool'), 'x'.repeat(70_000), { mode: 0o755 });
    writeFileSync(join(rootfs, 'zero'), '');
    linkSync(join(rootfs, 'usr/bin/tool'), join(rootfs, 'usr/bin/yet-another'));
    linkSync(join(rootfs, 'usr/bin/tool'), join(rootfs, 'usr/bin/zz'));
    symlinkSync('usr/bin', join(rootfs, 'bin'));
    execFileSync('tar', ['--sort=name', '-cf', archive, '-C', directory, 'manifest', 'rootfs']);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function mounted(only: ReadonlySet<string> | undefined, look: (path: string) => void): void {
    const bytes = readFileSync(archive);
    const builder = new IndexBuilder(DEFAULT_LAYER_LIMITS);
    const reader = new TarReader(builder, DEFAULT_LAYER_LIMITS, 'test');
    reader.write(bytes);
    reader.end();
    const { index } = builder.finish(bytes.length);
    aciFilesOf(index);
    const image = writeErofs(mergeLayers([rootfsView(index, only)]), { uuid: new Uint8Array(16).fill(1) });
    const imageFd = openSync(join(directory, 'image.erofs'), 'w+');
    const deviceFds = image.devices.map(() => openSync(archive, 'r'));
    try {
      for (const piece of image.pieces()) writeSync(imageFd, piece);
      mountErofs({ imageFd, deviceFds, target, through: 'file' });
      try {
        look(target);
      } finally {
        unmount(target);
      }
    } finally {
      for (const fd of [imageFd, ...deviceFds]) closeSync(fd);
    }
  }

  it('shows what GNU tar packed below rootfs/', () => {
    mounted(undefined, (path) => {
      execFileSync('diff', ['-r', '--no-dereference', rootfs, path]);
      assert.equal(statSync(join(path, 'usr/bin/zz')).ino, statSync(join(path, 'usr/bin/tool')).ino);
      assert.equal(statSync(join(path, 'empty')).mode, statSync(join(rootfs, 'empty')).mode);
    });
  });

  it('shows under a whitelist the bytes of a file by the names that are left', () => {
    mounted(whitelistSet(['/usr/bin/yet-another', '/usr/bin/zz']), (path) => {
      assert.deepEqual(readdirSync(path), ['usr']);
      assert.deepEqual(readdirSync(join(path, 'usr/bin')).sort(), ['yet-another', 'zz']);
      const [tool, link] = ['yet-another', 'zz'].map((name) => statSync(join(path, 'usr/bin', name)));
      assert.deepEqual([tool?.nlink, tool?.mode, tool?.ino], [2, 0o100755, link?.ino]);
      assert.equal(readFileSync(join(path, 'usr/bin/zz'), 'latin1'), 'x'.repeat(70_000));
    });
  });
});
