/**
 * ▸ What every backend must keep. Capabilities of the fixture say what is skipped, never the backend's name. Needs a
 * machine where the backend works: mounting ones need root.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Backend, ProvisionedRootfs, ProvisionOptions } from '../../backends/backend.js';
import { bindMount } from '../../linux/mount.js';
import { findMount, mountsUnder } from '../../linux/mountinfo.js';
import { getXattr, listXattrs, setXattr } from '../../linux/xattr.js';
import { char, dir, fifo, file, hardlink, opaque, sparse, symlink, tar, whiteout } from '../tar-builder.js';
import { treeDigest } from '../tree-digest.js';
import type { Register } from './register.js';

export interface BackendFixture {
  readonly backend: Backend;
  /** Empty, private, on the store's file system. The cases put containers here. */
  readonly directory: string;
  /** What is written into a root filesystem stays its own; false for read-only ones. */
  readonly writable: boolean;
  /** Root filesystems are mounts, with flags. */
  readonly mounts: boolean;
  /** Owners, device nodes and all xattrs are kept. */
  readonly privileged: boolean;
  /** Stores a tar and answers its layer path. */
  addLayer(tar: Uint8Array): string | Promise<string>;
  /** Anything that changes when a stored layer, or a directory made from one, does. */
  layersState(): unknown;
  /**
   * Does it in a process of its own that is killed with SIGKILL at step number `step`. Answers the step's name, or
   * undefined when there were fewer steps and it ended well.
   */
  killedAt?(
    what: 'provision' | 'destroy',
    step: number,
    place: Place,
    layers: readonly string[],
  ): Promise<string | undefined>;
  dispose(): Promise<void> | void;
}

export interface Place {
  readonly rootfs: string;
  readonly backendDir: string;
}

type Case = (fixture: BackendFixture) => Promise<void>;

interface Conditional {
  readonly when: (fixture: BackendFixture) => boolean;
  readonly body: Case;
}

export function backendConformance(
  name: string,
  create: () => Promise<BackendFixture> | BackendFixture,
  register: Register = test,
): void {
  for (const [sentence, entry] of Object.entries<Case | Conditional>({ ...treeCases, ...lifeCases })) {
    register(`${name}: ${sentence}`, {}, async () => {
      const fixture = await create();
      try {
        if (typeof entry === 'function') await entry(fixture);
        else if (entry.when(fixture)) await entry.body(fixture);
      } finally {
        await fixture.dispose();
      }
    });
  }
}

const writable = (body: Case): Conditional => ({ when: (fixture) => fixture.writable, body });
const mounting = (body: Case): Conditional => ({ when: (fixture) => fixture.mounts, body });
const privileged = (body: Case): Conditional => ({ when: (fixture) => fixture.privileged, body });
const killable = (body: Case): Conditional => ({ when: (fixture) => fixture.killedAt !== undefined, body });

const treeCases: Record<string, Case | Conditional> = {
  'a later layer shadows an earlier one': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([dir('etc'), file('etc/a', 'one'), file('etc/b', 'kept')]),
      tar([file('etc/a', 'two')]),
    ]);
    assert.equal(readFileSync(join(rootfs, 'etc/a'), 'utf8'), 'two');
    assert.equal(readFileSync(join(rootfs, 'etc/b'), 'utf8'), 'kept');
  },

  'a type replaces another one': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([file('was-file'), dir('was-dir'), file('was-dir/x'), symlink('was-link', 'was-dir')]),
      tar([dir('was-file'), file('was-file/y'), file('was-dir', 'now'), dir('was-link'), file('was-link/z')]),
    ]);
    assert.deepEqual(readdirSync(join(rootfs, 'was-file')), ['y']);
    assert.equal(readFileSync(join(rootfs, 'was-dir'), 'utf8'), 'now');
    assert.deepEqual(readdirSync(join(rootfs, 'was-link')), ['z']);
  },

  'a whiteout deletes, and a later layer may bring the name back': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([file('a', 'one'), dir('d'), file('d/x'), file('b')]),
      tar([whiteout('a'), whiteout('d'), whiteout('never-was')]),
      tar([file('a', 'three')]),
    ]);
    assert.deepEqual(readdirSync(rootfs).sort(), ['a', 'b']);
    assert.equal(readFileSync(join(rootfs, 'a'), 'utf8'), 'three');
  },

  'an opaque directory hides what is below and shows what is beside its mark': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([dir('d'), file('d/old'), dir('d/sub'), file('d/sub/old'), dir('e'), file('e/old')]),
      tar([opaque('d'), file('d/new'), file('d/sub/new'), opaque('e')]),
    ]);
    assert.deepEqual(readdirSync(join(rootfs, 'd')).sort(), ['new', 'sub']);
    assert.deepEqual(readdirSync(join(rootfs, 'd/sub')), ['new']);
    assert.deepEqual(readdirSync(join(rootfs, 'e')), []);
  },

  'a layer writes through a directory symlink of the layers below': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([dir('usr'), dir('usr/bin'), symlink('bin', 'usr/bin')]),
      tar([file('bin/tool', 'x')]),
    ]);
    assert.equal(readlinkSync(join(rootfs, 'bin')), 'usr/bin');
    assert.equal(readFileSync(join(rootfs, 'usr/bin/tool'), 'utf8'), 'x');
  },

  'names of one file stay one file across layers': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([file('a', 'data'), hardlink('b', 'a'), file('c', 'other'), hardlink('d', 'c')]),
      tar([dir('sub'), hardlink('sub/e', 'a'), whiteout('d')]),
    ]);
    const inode = (name: string): number => lstatSync(join(rootfs, name)).ino;
    assert.equal(inode('a'), inode('b'));
    assert.equal(inode('a'), inode('sub/e'));
    assert.equal(lstatSync(join(rootfs, 'a')).nlink, 3);
    assert.equal(lstatSync(join(rootfs, 'c')).nlink, 1);
  },

  'modes and times of files, directories, links and of the root are kept': async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([
        dir('.', { mode: 0o751, mtime: 1_000_000_000, mtimeNs: 1 }),
        dir('d', { mode: 0o1777, mtime: 1_500_000_000, mtimeNs: 123_456_789 }),
        file('d/suid', 'x', { mode: 0o4755, mtime: -5, mtimeNs: 999_999_999 }),
        symlink('d/link', 'target', { mtime: 7, mtimeNs: 8 }),
        fifo('d/pipe', { mode: 0o620, mtime: 9 }),
      ]),
    ]);
    const facts = (name: string): readonly [string, bigint] => {
      const stats = lstatSync(join(rootfs, name), { bigint: true });
      return [(stats.mode & 0o7777n).toString(8), stats.mtimeNs];
    };
    assert.deepEqual(facts('.'), ['751', 1_000_000_000_000_000_001n]);
    assert.deepEqual(facts('d'), ['1777', 1_500_000_000_123_456_789n]);
    assert.deepEqual(facts('d/suid'), ['4755', -4_000_000_001n]);
    assert.equal(facts('d/link')[1], 7_000_000_008n);
    assert.deepEqual(facts('d/pipe'), ['620', 9_000_000_000n]);
  },

  'owners, device nodes and xattrs are kept': privileged(async (fixture) => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    const { rootfs } = await provision(fixture, [
      tar([
        dir('.', { uid: 3, gid: 4, xattrs: { 'user.root': 'r' } }),
        file('ping', 'x', { uid: 4_000_000_000, gid: 7, xattrs: { 'security.capability': capability, 'user.é': 'v' } }),
        dir('d', { xattrs: { 'trusted.x': Buffer.from([0, 255]) } }),
        char('null', 1, 3, { mode: 0o666 }),
        symlink('link', 'x', { uid: 5, xattrs: { 'trusted.l': 'l' } }),
      ]),
    ]);
    const owner = (name: string): string => `${lstatSync(join(rootfs, name)).uid}:${lstatSync(join(rootfs, name)).gid}`;
    assert.equal(owner('.'), '3:4');
    assert.equal(owner('ping'), '4000000000:7');
    assert.equal(owner('link'), '5:0');
    assert.equal(lstatSync(join(rootfs, 'null')).rdev, 0x103);
    const value = (name: string, xattr: string): string =>
      Buffer.from(getXattr(join(rootfs, name), xattr) ?? []).toString('latin1');
    assert.equal(value('.', 'user.root'), 'r');
    assert.equal(value('ping', 'security.capability'), capability.toString('latin1'));
    assert.equal(value('ping', 'user.é'), 'v');
    assert.equal(value('d', 'trusted.x'), '\0\xff');
    assert.equal(value('link', 'trusted.l'), 'l');
  }),

  'an ACL of the directory that it lies in is not inherited': privileged(async (fixture) => {
    const at = place(fixture, 'container');
    // acl(5), in the kernel's form: user::rwx user:7:rwx group::--- mask::rwx other::---
    const entries = [
      '01000700ffffffff',
      '0200070007000000',
      '04000000ffffffff',
      '10000700ffffffff',
      '20000000ffffffff',
    ];
    setXattr(at.backendDir, 'system.posix_acl_default', Buffer.from(`02000000${entries.join('')}`, 'hex'));
    const layers = await addAll(fixture, [tar([dir('d'), file('d/a'), file('suid', 'x', { mode: 0o4711 })])]);
    await provisionAt(fixture, layers, at);
    for (const name of ['', 'd', 'd/a', 'suid']) {
      const names = listXattrs(join(at.rootfs, name)).map((one) => Buffer.from(one).toString());
      assert.deepEqual(names, [], name);
    }
    assert.equal(lstatSync(join(at.rootfs, 'd/a')).mode & 0o7777, 0o644);
    if (!fixture.writable) return;
    writeFileSync(join(at.rootfs, 'd/new'), '');
    mkdirSync(join(at.rootfs, 'new'));
    for (const name of ['d/new', 'new']) assert.deepEqual(listXattrs(join(at.rootfs, name)), [], name);
  }),

  'xattrs and device numbers by which an image would steer overlayfs are not in it': privileged(async (fixture) => {
    const { rootfs } = await provision(fixture, [
      tar([dir('d'), file('d/below')]),
      tar([
        dir('d', { xattrs: { 'trusted.overlay.opaque': 'y', 'trusted.overlay.redirect': '/etc' } }),
        char('d/hide', 0, 0),
      ]),
    ]);
    assert.deepEqual(readdirSync(join(rootfs, 'd')), ['below']);
  }),

  'empty, odd-sized, large and sparse files read right': async (fixture) => {
    const large = Buffer.alloc(3_000_001, 'larder');
    const { rootfs } = await provision(fixture, [
      tar([
        file('empty'),
        file('odd', 'x'.repeat(513)),
        file('large', large),
        sparse('aligned', 1 << 20, [{ offset: 65536, data: Buffer.alloc(512, 'a') }]),
        sparse('odd-holes', 100_000, [{ offset: 777, data: Buffer.from('islands') }]),
      ]),
    ]);
    assert.equal(readFileSync(join(rootfs, 'empty')).length, 0);
    assert.equal(readFileSync(join(rootfs, 'odd'), 'utf8'), 'x'.repeat(513));
    assert.ok(readFileSync(join(rootfs, 'large')).equals(large));
    const aligned = readFileSync(join(rootfs, 'aligned'));
    assert.deepEqual([aligned.length, aligned.indexOf('a'), aligned.lastIndexOf('a')], [1 << 20, 65536, 65536 + 511]);
    const holes = readFileSync(join(rootfs, 'odd-holes'));
    assert.deepEqual([holes.length, holes.indexOf('islands')], [100_000, 777]);
  },

  'names that are not text, long ones and those of options are kept': async (fixture) => {
    const odd = Buffer.from([0x66, 0xff, 0x0a, 0x3a, 0x2c, 0x5c, 0x20]);
    const long = 'n'.repeat(255);
    const { rootfs } = await provision(fixture, [
      tar([file(odd, 'odd'), file(long, 'long'), dir('a:b,c\\d'), file('a:b,c\\d/.wh', 'plain')]),
    ]);
    assert.equal(readFileSync(Buffer.concat([Buffer.from(`${rootfs}/`), odd]), 'utf8'), 'odd');
    assert.equal(readFileSync(join(rootfs, long), 'utf8'), 'long');
    assert.equal(readFileSync(join(rootfs, 'a:b,c\\d/.wh'), 'utf8'), 'plain');
  },

  '128 layers are one tree': async (fixture) => {
    const tars = Array.from({ length: 128 }, (_, i) => tar([file('top', String(i)), file(`only-${i}`)]));
    const { rootfs } = await provision(fixture, tars);
    assert.equal(readFileSync(join(rootfs, 'top'), 'utf8'), '127');
    assert.equal(readdirSync(rootfs).length, 129);
  },

  'an image of nothing is an empty root': async (fixture) => {
    const { rootfs } = await provision(fixture, [tar([])]);
    assert.deepEqual(readdirSync(rootfs), []);
  },
};

const lifeCases: Record<string, Case | Conditional> = {
  'what a container writes changes no layer and no other container': writable(async (fixture) => {
    const layers = await addAll(fixture, [
      tar([dir('d'), file('d/a', 'one'), file('d/b', 'two'), hardlink('d/c', 'd/b'), dir('e')]),
      tar([file('d/x', 'y')]),
    ]);
    const [first, second] = [place(fixture, 'first'), place(fixture, 'second')];
    await provisionAt(fixture, layers, first);
    const state = fixture.layersState();
    await provisionAt(fixture, layers, second);
    const before = treeDigest(second.rootfs);
    writeFileSync(join(first.rootfs, 'd/a'), 'changed');
    writeFileSync(join(first.rootfs, 'd/new'), 'new');
    chmodSync(join(first.rootfs, 'd/b'), 0o600);
    renameSync(join(first.rootfs, 'd'), join(first.rootfs, 'moved'));
    rmSync(join(first.rootfs, 'e'), { recursive: true });
    assert.equal(treeDigest(second.rootfs), before);
    assert.equal(readFileSync(join(first.rootfs, 'moved/a'), 'utf8'), 'changed');
    assert.equal(lstatSync(join(first.rootfs, 'moved/c')).mode & 0o777, 0o600);
    assert.deepEqual(fixture.layersState(), state);
    for (const one of [first, second]) await fixture.backend.destroy(one.rootfs, one.backendDir);
    assert.deepEqual(fixture.layersState(), state);
  }),

  'a read-only root filesystem refuses writing': {
    when: (fixture) => !fixture.writable,
    body: async (fixture) => {
      const { rootfs, result } = await provision(fixture, [tar([file('a')]), tar([file('b')])]);
      assert.throws(() => writeFileSync(join(rootfs, 'a'), 'x'), { code: 'EROFS' });
      assert.throws(() => writeFileSync(join(rootfs, 'new'), 'x'), { code: 'EROFS' });
      assert.deepEqual(result.ephemeral, []);
    },
  },

  'what it says takes what the container writes exists': writable(async (fixture) => {
    const { result } = await provision(fixture, [tar([file('a')])]);
    assert.ok(result.ephemeral.length > 0);
    for (const path of result.ephemeral) assert.ok(lstatSync(path).isDirectory());
  }),

  'the mount has the flags that were asked for, and only those': mounting(async (fixture) => {
    const layers = await addAll(fixture, [tar([file('a')])]);
    const [strict, open] = [place(fixture, 'strict'), place(fixture, 'open')];
    await provisionAt(fixture, layers, strict, { nodev: true, nosuid: true, noexec: true });
    await provisionAt(fixture, layers, open);
    const flags = ['nodev', 'nosuid', 'noexec'];
    const of = (path: string): readonly string[] =>
      flags.filter((flag) => findMount(path)?.options.split(',').includes(flag));
    assert.deepEqual(of(strict.rootfs), flags);
    assert.deepEqual(of(open.rootfs), []);
  }),

  'a volatile root filesystem reads and writes like any other': writable(async (fixture) => {
    const layers = await addAll(fixture, [tar([file('a', 'x')])]);
    const at = place(fixture, 'volatile');
    await provisionAt(fixture, layers, at, { volatile: true });
    writeFileSync(join(at.rootfs, 'b'), readFileSync(join(at.rootfs, 'a')));
    assert.equal(await fixture.backend.destroy(at.rootfs, at.backendDir), true);
    expectNothing(fixture, at);
  }),

  'nothing that is mounted inside is seen elsewhere': mounting(async (fixture) => {
    const { rootfs } = await provision(fixture, [tar([file('a')])]);
    assert.deepEqual(findMount(rootfs)?.propagation, []);
  }),

  'a program of the image runs': mounting(async (fixture) => {
    const { rootfs } = await provision(fixture, [tar([file('script', '#!/bin/true\n', { mode: 0o755 })])]);
    const { spawnSync } = await import('node:child_process');
    assert.equal(spawnSync(join(rootfs, 'script')).status, 0);
  }),

  'places may have the separators of mount options': async (fixture) => {
    const directory = join(fixture.directory, 'a:b,c\\d e"\n=f');
    mkdirSync(directory);
    const odd = { rootfs: join(directory, 'root:fs,'), backendDir: join(directory, 'back,end: \\') };
    mkdirSync(odd.backendDir, { mode: 0o700 });
    await provisionAt(fixture, await addAll(fixture, [tar([file('a', 'x')]), tar([file('b')])]), odd);
    assert.equal(readFileSync(join(odd.rootfs, 'a'), 'utf8'), 'x');
    assert.equal(await fixture.backend.destroy(odd.rootfs, odd.backendDir), true);
    expectNothing(fixture, odd);
  },

  'destroy removes everything, and the second time answers false': async (fixture) => {
    const { rootfs, backendDir } = await provision(fixture, [tar([file('a'), dir('d', { mode: 0o500 }), file('d/x')])]);
    assert.equal(await fixture.backend.destroy(rootfs, backendDir), true);
    expectNothing(fixture, { rootfs, backendDir });
    assert.equal(await fixture.backend.destroy(rootfs, backendDir), false);
  },

  'destroy of what never was answers false': async (fixture) => {
    assert.equal(
      await fixture.backend.destroy(join(fixture.directory, 'x/rootfs'), join(fixture.directory, 'x')),
      false,
    );
  },

  'a rootfs that exists is refused and stays': async (fixture) => {
    const layers = await addAll(fixture, [tar([file('a')])]);
    const taken = place(fixture, 'taken');
    mkdirSync(taken.rootfs);
    writeFileSync(join(taken.rootfs, 'precious'), '');
    await assert.rejects(provisionAt(fixture, layers, taken), { code: 'LARDER_CONTAINER_EXISTS' });
    assert.equal(mountsUnder(taken.rootfs).length, 0);
    await fixture.backend.destroy(taken.rootfs, taken.backendDir);
    assert.ok(existsSync(join(taken.rootfs, 'precious')));
  },

  'destroy takes a root filesystem down that is in use': mounting(async (fixture) => {
    const { rootfs, backendDir } = await provision(fixture, [tar([file('a', 'still')])]);
    const fd = openSync(join(rootfs, 'a'), 'r');
    assert.equal(await fixture.backend.destroy(rootfs, backendDir), true);
    assert.equal(readFileSync(fd, 'utf8'), 'still');
    closeSync(fd);
    expectNothing(fixture, { rootfs, backendDir });
  }),

  'destroy takes mounts inside along and deletes nothing in them': privileged(async (fixture) => {
    const volume = join(fixture.directory, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'precious'), '');
    const { rootfs, backendDir } = await provision(fixture, [tar([dir('data')])]);
    bindMount({ source: volume, target: join(rootfs, 'data') });
    await fixture.backend.destroy(rootfs, backendDir);
    expectNothing(fixture, { rootfs, backendDir });
    assert.ok(existsSync(join(volume, 'precious')));
  }),

  'destroy follows no symbolic link that a container left': writable(async (fixture) => {
    const outside = join(fixture.directory, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'precious'), '');
    const { rootfs, backendDir } = await provision(fixture, [tar([dir('d')])]);
    symlinkSync(outside, join(rootfs, 'd/link'));
    symlinkSync(outside, join(rootfs, 'link'));
    await fixture.backend.destroy(rootfs, backendDir);
    assert.ok(existsSync(join(outside, 'precious')));
  }),

  'the same place can be provisioned again after destroy': async (fixture) => {
    const layers = await addAll(fixture, [tar([file('a', 'x')])]);
    const again = place(fixture, 'again');
    for (let round = 0; round < 2; round++) {
      await provisionAt(fixture, layers, again);
      assert.equal(readFileSync(join(again.rootfs, 'a'), 'utf8'), 'x');
      await fixture.backend.destroy(again.rootfs, again.backendDir);
    }
  },

  'an aborted provision leaves nothing that destroy does not remove': async (fixture) => {
    const layers = await addAll(fixture, [tar([file('a')])]);
    const aborted = place(fixture, 'aborted');
    await assert.rejects(provisionAt(fixture, layers, aborted, { signal: AbortSignal.abort() }));
    await fixture.backend.destroy(aborted.rootfs, aborted.backendDir);
    expectNothing(fixture, aborted);
  },

  'killed between any two steps of provision, destroy leaves no mount and no directory': killable(async (fixture) => {
    const layers = await addAll(fixture, [tar([dir('d'), file('d/a')]), tar([file('d/b'), whiteout('d/a')])]);
    await killAtEveryStep(fixture, 'provision', layers, () => Promise.resolve());
  }),

  'killed between any two steps of destroy, the next destroy goes on': killable(async (fixture) => {
    const layers = await addAll(fixture, [tar([dir('d'), file('d/a')]), tar([file('d/b')])]);
    await killAtEveryStep(fixture, 'destroy', layers, (at) => provisionAt(fixture, layers, at));
  }),
};

async function killAtEveryStep(
  fixture: BackendFixture,
  what: 'provision' | 'destroy',
  layers: readonly string[],
  prepare: (place: Place) => Promise<unknown>,
): Promise<void> {
  const names = new Set<string>();
  for (let step = 0; ; step++) {
    const at = place(fixture, `${what}-${step}`);
    await prepare(at);
    const name = await fixture.killedAt?.(what, step, at, layers);
    await fixture.backend.destroy(at.rootfs, at.backendDir);
    expectNothing(fixture, at);
    if (name === undefined) break;
    names.add(name);
  }
  assert.ok(names.size > 0, 'no step was ever reached');
  // The shared parts survived too: the next container is whole.
  const after = place(fixture, `${what}-after`);
  await provisionAt(fixture, layers, after);
  assert.ok(existsSync(join(after.rootfs, 'd/b')));
}

function expectNothing(fixture: BackendFixture, { rootfs, backendDir }: Place): void {
  assert.deepEqual(mountsUnder(rootfs), []);
  assert.ok(!existsSync(rootfs), 'the rootfs is still there');
  assert.deepEqual(existsSync(backendDir) ? readdirSync(backendDir) : [], [], fixture.backend.name);
}

function place(fixture: BackendFixture, name: string): Place {
  const backendDir = join(fixture.directory, name);
  mkdirSync(backendDir, { mode: 0o700 });
  return { rootfs: join(backendDir, 'rootfs'), backendDir };
}

async function addAll(fixture: BackendFixture, tars: readonly Uint8Array[]): Promise<readonly string[]> {
  const layers: string[] = [];
  for (const one of tars) layers.push(await fixture.addLayer(one));
  return layers;
}

function provisionAt(
  fixture: BackendFixture,
  layers: readonly string[],
  { rootfs, backendDir }: Place,
  options?: ProvisionOptions,
): Promise<ProvisionedRootfs> {
  return fixture.backend.provision(layers, rootfs, backendDir, options);
}

async function provision(
  fixture: BackendFixture,
  tars: readonly Uint8Array[],
): Promise<Place & { readonly result: ProvisionedRootfs }> {
  const at = place(fixture, 'container');
  const result = await provisionAt(fixture, await addAll(fixture, tars), at);
  return { ...at, result };
}
