import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, lchownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { weakPlaceOn } from '../../src/linux/weak-place.js';
import { prepareRoot } from '../../src/store-root.js';

const skip = process.getuid?.() === 0 ? false : 'only root can make files of another user';
const OTHER = 65_534;

describe("a store's root in a directory that others may write to", { skip }, () => {
  let place: string;

  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'larder-root-'));
    chmodSync(place, 0o1777);
  });

  afterEach(() => {
    rmSync(place, { recursive: true, force: true });
  });

  it("is not taken through another user's symbolic link", async () => {
    const victim = join(place, 'victim');
    mkdirSync(victim, { mode: 0o755 });
    const root = join(place, 'store');
    symlinkSync(victim, root);
    lchownSync(root, OTHER, OTHER);
    await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE' });
    assert.deepEqual(readdirSync(victim), []);
    assert.equal(statSync(victim).mode & 0o777, 0o755);
  });

  it("is refused below another user's directory, at any depth, who could swap it; nothing is made there", async () => {
    mkdirSync(join(place, 'his', 'ours'), { recursive: true });
    lchownSync(join(place, 'his'), OTHER, OTHER);
    await assert.rejects(prepareRoot(join(place, 'his', 'ours', 'store')), {
      code: 'LARDER_STORE_UNSAFE',
      message: /something else could be put in its place at \S+\/his: it belongs to user 65534/,
    });
    assert.deepEqual(readdirSync(join(place, 'his', 'ours')), []);
  });

  it("is not made through another user's link above it, nor found through one of ours to his directory", async () => {
    for (const name of ['victim', 'his']) mkdirSync(join(place, name));
    symlinkSync(join(place, 'victim'), join(place, 'link'));
    lchownSync(join(place, 'link'), OTHER, OTHER);
    await assert.rejects(prepareRoot(join(place, 'link', 'store')), { message: /a symbolic link of user 65534/ });
    assert.deepEqual(readdirSync(join(place, 'victim')), []);
    mkdirSync(join(place, 'his', 'store'), { mode: 0o700 });
    lchownSync(join(place, 'his'), OTHER, OTHER);
    symlinkSync(join(place, 'his', 'store'), join(place, 'ours'));
    await assert.rejects(prepareRoot(join(place, 'ours')), { code: 'LARDER_STORE_UNSAFE' });
    assert.deepEqual(readdirSync(join(place, 'his', 'store')), []);
  });

  it("is refused where a link of ours leads through another user's directory, in which he could lead it elsewhere", async () => {
    for (const name of ['real', 'his']) mkdirSync(join(place, name));
    symlinkSync('../real', join(place, 'his', 'hop'));
    symlinkSync(join(place, 'his', 'hop'), join(place, 'ours'));
    lchownSync(join(place, 'his'), OTHER, OTHER);
    for (const root of [join(place, 'ours', 'store'), join(place, 'ours')]) {
      await assert.rejects(prepareRoot(root), { message: /at \S+\/his: it belongs to user 65534/ });
    }
    assert.deepEqual(readdirSync(join(place, 'real')), []);
  });

  it('is looked for where the kernel would: a link on the way is followed before two dots lead up', async () => {
    for (const name of ['his', 'his/deep']) mkdirSync(join(place, name));
    lchownSync(join(place, 'his'), OTHER, OTHER);
    symlinkSync('his/deep', join(place, 'link'));
    await assert.rejects(prepareRoot(`${place}/link/../store`), { message: /at \S+\/his: it belongs to user 65534/ });
  });

  it('is refused in a user namespace where someone that it has no number for may have made a name', () => {
    for (const name of ['his', 'host', 'host/his']) mkdirSync(join(place, name));
    for (const name of ['his', 'host', 'host/his']) lchownSync(join(place, name), 1234, 1234);
    const source = new URL('../../src/linux/weak-place.js', import.meta.url).href;
    const script = `const { weakPlaceOn } = await import(${JSON.stringify(source)});
      for (const path of process.argv.slice(1)) console.log(weakPlaceOn(path)?.path);`;
    const paths = [join(place, 'his', 'store'), join(place, 'host', 'his', 'store')];
    const node = [process.execPath, '--input-type=module', '-e', script, ...paths];
    const look = () => spawnSync('unshare', ['--user', '--map-root-user', ...node], { encoding: 'utf8' }).stdout;
    assert.equal(look(), `${join(place, 'his')}\n${join(place, 'host')}\n`);
    // Only the host's root lets anybody in here.
    chmodSync(place, 0o755);
    assert.equal(look(), 'undefined\nundefined\n');
  });

  it('is taken through links of ours, relative ones and those that lead up, too', async () => {
    mkdirSync(join(place, 'disk', 'deep'), { recursive: true });
    symlinkSync('disk/deep', join(place, 'home'));
    symlinkSync('../../disk', join(place, 'disk', 'deep', 'up'));
    assert.equal(await prepareRoot(join(place, 'home', 'up', 'deep', 'store')), join(place, 'disk', 'deep', 'store'));
  });

  it('is taken below the home directory of who runs sudo', async () => {
    mkdirSync(join(place, 'his'));
    lchownSync(join(place, 'his'), OTHER, OTHER);
    const before = process.env['SUDO_UID'];
    process.env['SUDO_UID'] = String(OTHER);
    try {
      await prepareRoot(join(place, 'his', 'store'));
    } finally {
      if (before === undefined) delete process.env['SUDO_UID'];
      else process.env['SUDO_UID'] = before;
    }
    assert.equal(statSync(join(place, 'his', 'store')).mode & 0o777, 0o700);
  });

  it('is an ordinary user’s own affair in a directory that is open to all, as volumes of pods are', () => {
    chmodSync(place, 0o777);
    const root = join(place, 'store');
    assert.equal(weakPlaceOn(root)?.path, place);
    process.seteuid?.(OTHER);
    try {
      assert.equal(weakPlaceOn(root), undefined);
    } finally {
      process.seteuid?.(0);
    }
  });

  it('is refused where everybody may rename it, and taken where only its owner may', async () => {
    chmodSync(place, 0o777);
    await assert.rejects(prepareRoot(join(place, 'store')), {
      code: 'LARDER_STORE_UNSAFE',
      message: /not sticky/,
      hint: /chmod \+t \S+$/,
    });
    assert.deepEqual(readdirSync(place), []);
    chmodSync(place, 0o1777);
    await prepareRoot(join(place, 'store'));
  });

  it("is refused before anything is written into another user's directory", async () => {
    const root = join(place, 'store');
    mkdirSync(root, { mode: 0o700 });
    lchownSync(root, OTHER, OTHER);
    await assert.rejects(prepareRoot(root), { code: 'LARDER_STORE_UNSAFE' });
    assert.deepEqual(readdirSync(root), []);
  });
});
