import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { mayMount } from '../../src/linux/capabilities.js';
import { mountErofs } from '../../src/linux/erofs-mount.js';
import { bindMount, FsContext, unmount } from '../../src/linux/mount.js';
import { isBareDirectory, isMountPoint } from '../../src/linux/mount-point.js';
import { findMount, mountsUnder } from '../../src/linux/mountinfo.js';
import { mountOverlay, type Way } from '../../src/linux/overlay-mount.js';
import { check, cString, kernel } from '../../src/linux/syscalls.js';
import { unmountTreeAside } from '../../src/linux/unmount-tree.js';
import { tinyErofs } from './tiny-erofs.js';

const MS_SHARED = 1 << 20;
const skip = mayMount() ? false : 'needs root: mounts file systems';

describe('mounting', { skip }, () => {
  let dir = '';

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'larder-mount-'));
  });

  afterEach(() => {
    for (const { mountPoint } of [...mountsUnder(dir)].reverse())
      unmount(Buffer.from(mountPoint, 'latin1'), { detach: true });
    rmSync(dir, { recursive: true });
  });

  const make = (...names: readonly string[]): string => {
    const path = join(dir, ...names);
    mkdirSync(path, { recursive: true });
    return path;
  };

  const layersWithFiles = (count: number, suffix = ''): readonly string[] =>
    Array.from({ length: count }, (_, i) => {
      const path = make('layers', `${i}${suffix}`);
      writeFileSync(join(path, 'top'), `${i}`);
      writeFileSync(join(path, `only-${i}`), '');
      return path;
    });

  it('says of one place whether something is mounted there, as the mount table does', () => {
    const [inner, target] = [make('source', 'inner'), make('target')];
    assert.equal(isMountPoint(target), false);
    assert.equal(isMountPoint(join(dir, 'missing')), false);
    bindMount({ source: join(dir, 'source'), target });
    assert.equal(isMountPoint(target), true);
    assert.equal(isMountPoint(join(target, 'inner')), false);
    symlinkSync(target, join(dir, 'link'));
    assert.equal(isMountPoint(join(dir, 'link')), false);
    unmount(target);
    assert.equal(isMountPoint(target), findMount(target) !== undefined);
    assert.equal(isBareDirectory(target), true);
    assert.equal(isBareDirectory(join(inner, '..')), false);
  });

  it('takes all mounts of a place away, those upon each other, those inside and those beneath', async () => {
    const [source, target] = [make('source'), make('target')];
    make('source', 'inside');
    bindMount({ source, target: make('target', 'beneath') });
    for (let i = 0; i < 2; i++) bindMount({ source, target });
    bindMount({ source, target: join(target, 'inside') });
    assert.equal(await unmountTreeAside(target), true);
    assert.deepEqual(mountsUnder(target), []);
    assert.equal(await unmountTreeAside(target), false);
  });

  for (const way of ['descriptors', 'strings', 'one-string'] satisfies Way[]) {
    it(`overlays layers, later ones over earlier ones, given as ${way}`, () => {
      const target = make('target');
      mountOverlay({ lower: layersWithFiles(3), upper: make('u'), work: make('w'), target, way });
      assert.equal(readFileSync(join(target, 'top'), 'utf8'), '2');
      assert.ok(existsSync(join(target, 'only-0')));
      assert.deepEqual(findMount(target)?.propagation, []);
    });

    it(`takes paths with the separators of mount options, given as ${way}`, () => {
      const target = make('target a:b,c\\d "e');
      const lower = layersWithFiles(2, ' a:b,c\\d=e "f\n');
      mountOverlay({ lower, upper: make('u:,\\ '), work: make('w:,\\ '), target, way });
      assert.equal(readFileSync(join(target, 'top'), 'utf8'), '1');
    });
  }

  it('overlays 200 layers', () => {
    const target = make('target');
    mountOverlay({ lower: layersWithFiles(200), upper: make('u'), work: make('w'), target });
    assert.equal(readFileSync(join(target, 'top'), 'utf8'), '199');
    assert.ok(existsSync(join(target, 'only-0')));
  });

  it('finds mounts at places with spaces, newlines and bytes that are not text', () => {
    const target = make('a b\n\\040');
    mountOverlay({ lower: layersWithFiles(2), target });
    assert.equal(findMount(target)?.type, 'overlay');
    assert.equal(mountsUnder(join(dir, 'a b\n\\040')).length, 1);
    assert.equal(mountsUnder(join(dir, 'a b')).length, 0);
  });

  it('sets the flags of an overlay', () => {
    const target = make('target');
    mountOverlay({ lower: layersWithFiles(2), target, nodev: true, nosuid: true, noexec: true, readOnly: true });
    const options = findMount(target)?.options.split(',') ?? [];
    for (const flag of ['ro', 'nodev', 'nosuid', 'noexec']) assert.ok(options.includes(flag), flag);
  });

  it('binds a directory read-only while its source stays writable', () => {
    const [source, target] = [make('source'), make('target')];
    bindMount({ source, target, readOnly: true });
    assert.throws(() => writeFileSync(join(target, 'x'), ''), { code: 'EROFS' });
    writeFileSync(join(source, 'x'), 'seen');
    assert.equal(readFileSync(join(target, 'x'), 'utf8'), 'seen');
  });

  it('makes mounts private where what they are put on is shared', () => {
    const shared = make('shared');
    check(kernel().mount(cString('none'), cString(shared), cString('tmpfs'), 0, null), 'mount', shared);
    check(kernel().mount(null, cString(shared), null, MS_SHARED, null), 'mount shared', shared);
    for (const way of ['descriptors', 'one-string'] satisfies Way[]) {
      const target = make('shared', way);
      mountOverlay({ lower: layersWithFiles(2), target, way });
      assert.match(findMount(shared)?.propagation.join() ?? '', /^shared:/);
      assert.deepEqual(findMount(target)?.propagation, []);
    }
  });

  it('does not unmount a busy mount unless it may detach it', () => {
    const target = make('target');
    mountOverlay({ lower: layersWithFiles(2), target });
    const fd = openSync(join(target, 'top'), 'r');
    assert.throws(() => unmount(target), { code: 'EBUSY' });
    unmount(target, { detach: true });
    closeSync(fd);
    assert.equal(findMount(target), undefined);
  });

  for (const through of ['file', 'loop'] as const) {
    it(`mounts EROFS with its data in a second file, through a ${through}`, () => {
      const target = make('target');
      const { imageFd, deviceFd } = tinyErofs(dir, 'hello');
      mountErofs({ imageFd, deviceFds: [deviceFd], target, through, nosuid: true });
      closeSync(imageFd);
      closeSync(deviceFd);
      assert.equal(readFileSync(join(target, 'file'), 'utf8'), 'hello');
      assert.match(findMount(target)?.options ?? '', /\bro\b.*\bnosuid\b/);
    });
  }

  it('tells what the kernel said of an option that it refused', () => {
    const options = { no_such_option: 'x' };
    const mount = { lower: layersWithFiles(2), target: make('target'), options };
    assert.throws(() => mountOverlay(mount), /fsconfig no_such_option \(the kernel says: .*Unknown parameter/);
  });

  it('refuses what is no EROFS image and leaves no mount', () => {
    writeFileSync(join(dir, 'zeros'), Buffer.alloc(65536));
    const imageFd = openSync(join(dir, 'zeros'), 'r');
    assert.throws(() => mountErofs({ imageFd, deviceFds: [], target: make('target') }), { code: 'EINVAL' });
    closeSync(imageFd);
    assert.equal(mountsUnder(dir).length, 0);
  });

  it('leaves no descriptor open when a mount fails', () => {
    const before = openDescriptors();
    assert.throws(() => mountOverlay({ lower: [make('a')], target: make('target') }));
    assert.throws(() => mountOverlay({ lower: [join(dir, 'missing')], target: make('target') }), { code: 'ENOENT' });
    assert.equal(openDescriptors(), before);
  });

  it('names a file system that the kernel does not have', () => {
    assert.throws(() => new FsContext('no-such-fs'), { code: 'ENODEV', syscall: 'fsopen', path: 'no-such-fs' });
  });
});

function openDescriptors(): number {
  let count = 0;
  for (let fd = 0; fd < 256; fd++) if (existsSync(`/proc/self/fd/${fd}`)) count++;
  return count;
}
