/** What is in the way of a provisioner: processes in a root filesystem, what was killed, what was lost. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import type { LarderEvent } from '../../src/events.js';
import { bindMount, unmount } from '../../src/linux/mount.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import type { Provisioner } from '../../src/provisioner.js';
import { parseContainerId } from '../../src/spec/container-id.js';
import type { ProvisionerFixture } from '../../src/testing/conformance/provisioner.js';
import { namesOf, provisionIt, requireNothing } from '../../src/testing/conformance/provisioner-fixture.js';
import { later, until } from '../../src/testing/conformance/store-fixture.js';
import { start } from '../helpers/child.js';
import { provisionerFixture } from '../helpers/provisioner.js';
import { needsRoot } from '../helpers/temporary.js';

describe('a provisioner', { skip: needsRoot }, () => {
  let fixture: ProvisionerFixture;
  let containers: string;

  beforeEach(async () => {
    fixture = await provisionerFixture('erofs');
    const { rootfs } = await provisionIt(fixture, 'first');
    containers = join(rootfs, '../..');
    await fixture.provisioner.destroy('first');
  });
  afterEach(() => fixture.dispose());

  test('destroys what a process works in, holds open and has mounted in a namespace of its own', async () => {
    const { rootfs } = await provisionIt(fixture, 'c');
    const script = 'mount --make-rprivate / && mount -t tmpfs t "$0" && cd "$0/.." && echo ready && exec sleep 60';
    const busy = start('unshare', ['-m', 'sh', '-c', script, rootfs]);
    const inside = start('sh', ['-c', 'cd "$0" && echo ready && exec sleep 60', rootfs]);
    const ready = [busy, inside].map(({ process }) => new Promise((resolve) => process.stdout?.once('data', resolve)));
    const fd = openSync(join(rootfs, 'image'), 'r');
    try {
      await Promise.race([Promise.all(ready), inside.ended]);
      assert.equal(await fixture.provisioner.destroy('c'), true);
      await requireNothing(fixture);
      assert.equal(readFileSync(fd, 'utf8'), 'this is image\n');
      await provisionIt(fixture, 'c');
    } finally {
      closeSync(fd);
      for (const child of [busy, inside]) child.kill();
    }
  });

  test('says what keeps it from destroying a container, and goes on with it when that is gone (flaw 11: Mesos hangs)', async () => {
    for (const id of ['a', 'a/b', 'a/c']) await provisionIt(fixture, id);
    const undo = occupy('a+b');
    const busy = { code: 'LARDER_ROOTFS_BUSY', message: /a\+b/ };
    await assert.rejects(fixture.provisioner.destroy('a'), busy);
    // The child that could go went; the parent waits for the one that could not.
    assert.deepEqual(await namesOf(fixture), ['a', 'a/b']);
    await assert.rejects(fixture.provisioner.destroy('a'), busy);
    undo();
    assert.equal(await fixture.provisioner.destroy('a'), true);
    await requireNothing(fixture);
  });

  test('recovers all others when one container fails, and names those that failed', async () => {
    for (const id of ['a', 'b', 'c', 'd']) await provisionIt(fixture, id);
    const undo = ['b', 'c'].map(occupy);
    await assert.rejects(fixture.provisioner.recover([]), {
      code: 'LARDER_ROOTFS_BUSY',
      message: /2 containers failed: b: .*; c: /,
      details: { containers: 'b c' },
    });
    assert.deepEqual(await namesOf(fixture), ['b', 'c']);
    for (const each of undo) each();
    await fixture.provisioner.recover([]);
    await requireNothing(fixture);
  });

  test('keeps a known container of which something is missing, and says so', async () => {
    const { rootfs } = await provisionIt(fixture, 'c');
    fixture.reboot?.();
    rmSync(join(rootfs, '../upper'), { recursive: true });
    const warnings = await recover(['c']);
    assert.match(warnings.join(), /container c is kept, and its root filesystem is not whole: .*upper/);
    assert.deepEqual(await namesOf(fixture), ['c']);
    assert.equal(await fixture.provisioner.destroy('c'), true);
  });

  test('mounts again after a reboot with the flags of the first time', async () => {
    const { rootfs } = await provisionIt(fixture, 'strict', { nosuid: true, noexec: true });
    const open = await provisionIt(fixture, 'open', { nodev: false });
    const flags = (): string[] =>
      [rootfs, open.rootfs].map((path) =>
        (mountsUnder(path)[0]?.options ?? '')
          .split(',')
          .filter((option) => option.startsWith('no'))
          .sort()
          .join(),
      );
    const before = flags();
    assert.deepEqual(before, ['nodev,noexec,nosuid', '']);
    fixture.reboot?.();
    await recover(['strict', 'open']);
    assert.deepEqual(flags(), before);
  });

  test('mounts a known container again after each of several reboots', async () => {
    const { rootfs } = await provisionIt(fixture, 'c');
    writeFileSync(join(rootfs, 'mine'), 'x');
    const warnings: string[] = [];
    for (let round = 0; round < 3; round++) {
      fixture.reboot?.();
      warnings.push(...(await recover(['c'])));
    }
    assert.deepEqual(warnings, []);
    assert.equal(readFileSync(join(rootfs, 'mine'), 'utf8'), 'x');
  });

  test('mounts a known container again over an image that was made anew from its layers', async () => {
    const { rootfs } = await provisionIt(fixture, 'c');
    writeFileSync(join(rootfs, 'image'), 'changed');
    fixture.reboot?.();
    rmSync(join(containers, '../derived'), { recursive: true });
    assert.deepEqual(await recover(['c']), []);
    assert.equal(readFileSync(join(rootfs, 'image'), 'utf8'), 'changed');
    assert.equal(readFileSync(join(rootfs, 'below'), 'utf8'), 'this is below\n');
  });

  test('never mounts what a container wrote over other directories than before', async () => {
    const { rootfs } = await provisionIt(fixture, 'c', { backend: 'overlay' });
    writeFileSync(join(rootfs, 'image'), 'changed');
    fixture.reboot?.();
    // Those of the layers are made anew: the same files, but not the same ones.
    const chains = join(containers, '../derived', readdirSync(join(containers, '../derived'))[0] ?? '', 'chains');
    renameSync(chains, join(containers, '../staging/old'));
    const warnings = await recover(['c']);
    assert.match(warnings.join(), /container c is kept/);
    assert.deepEqual(fixture.state().mounts, []);
    assert.equal(readFileSync(join(rootfs, '../upper/image'), 'utf8'), 'changed');
    rmSync(join(containers, '../staging/old'), { recursive: true });
  });

  test('does not mount a known container twice that another mount namespace still runs', async () => {
    const { rootfs } = await provisionIt(fixture, 'c');
    const elsewhere = start('unshare', ['-m', 'sh', '-c', 'mount --make-rprivate / && echo ready && exec sleep 60']);
    try {
      const ready = new Promise((resolve) => elsewhere.process.stdout?.once('data', resolve));
      await Promise.race([ready, elsewhere.ended]);
      fixture.reboot?.();
      assert.match((await recover(['c'])).join(), /container c is kept, and its root filesystem is not whole: .*EBUSY/);
      assert.deepEqual(mountsUnder(rootfs), []);
    } finally {
      elsewhere.kill();
      await elsewhere.ended;
    }
    await until(async () => (await recover(['c'])).length === 0, 'the other namespace is gone');
    assert.ok(existsSync(join(rootfs, 'image')));
  });

  test('clears lock files and empty directories that nobody has, and leaves what may be somebody’s', async () => {
    for (const name of ['gone.lock', 'a+b.lock']) writeFileSync(join(containers, name), '');
    mkdirSync(join(containers, 'empty/volumes'), { recursive: true });
    mkdirSync(join(containers, 'full/rootfs'), { recursive: true });
    writeFileSync(join(containers, 'full/rootfs/precious'), '');
    mkdirSync(join(containers, 'lost found'));
    writeFileSync(join(containers, 'lost found/x'), '');
    const warnings = await recover([]);
    assert.deepEqual(readdirSync(containers).sort(), ['full', 'lost found']);
    assert.equal(warnings.length, 2);
    assert.match(warnings.join(), /container full: a directory without a claim/);
    assert.equal(await fixture.provisioner.destroy('full'), true);
    rmSync(join(containers, 'lost found'), { recursive: true });
  });

  test('clears nothing that somebody is at work on', async () => {
    fixture.source.publish('slow', []);
    await fixture.remove(fixture.image('image'));
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 400 } : undefined));
    const asked = fixture.source.requests('layer').length;
    const provision = provisionIt(fixture, 'a/b');
    await until(() => fixture.source.requests('layer').length > asked, 'the layer is asked for');
    await recover([]);
    assert.deepEqual(readdirSync(containers).sort(), ['a+b.lock', 'a.lock']);
    assert.ok(existsSync((await provision).rootfs));
    assert.deepEqual(readdirSync(containers), ['a+b']);
  });

  test('destroys a container whose claim is lost, and whose directory is lost', async () => {
    const root = join(containers, '..');
    const { rootfs } = await provisionIt(fixture, 'no-claim/child', { volumes: [volume()] });
    await provisionIt(fixture, 'no-directory');
    const other = await Assembly.open(configOf({ root, owner: 'suite' }));
    await other.claims.remove(parseContainerId('no-claim/child'));
    await other.close();
    await assert.rejects(provisionIt(fixture, 'no-claim/child'), { code: 'LARDER_CONTAINER_EXISTS' });
    assert.equal(await fixture.provisioner.destroy('no-claim'), true);
    assert.ok(!existsSync(rootfs));
    for (const { mountPoint } of [...mountsUnder(join(containers, 'no-directory'))].reverse()) unmount(mountPoint);
    rmSync(join(containers, 'no-directory'), { recursive: true });
    assert.equal(await fixture.provisioner.destroy('no-directory'), true);
    await recover([]);
    await requireNothing(fixture);
  });

  test('destroys a container whose image is forgotten and whose layers are damaged', async () => {
    await provisionIt(fixture, 'c');
    rmSync(join(containers, '../derived'), { recursive: true });
    assert.equal(await fixture.provisioner.destroy('c'), true);
    await requireNothing(fixture);
  });

  test('a destroy that waits for another process can be cancelled, and leaves the container', async () => {
    await fixture.remove(fixture.image('image'));
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 600 } : undefined));
    const asked = fixture.source.requests('layer').length;
    const job = { what: 'provision', id: 'c', image: fixture.image('image'), backend: fixture.backend } as const;
    const child = fixture.inProcess?.(job) ?? assert.fail('no processes');
    await until(() => fixture.source.requests('layer').length > asked, 'the layer is asked for');
    const destroy = fixture.provisioner.destroy('c', { signal: AbortSignal.timeout(50) });
    await assert.rejects(destroy, { code: 'LARDER_ABORTED' });
    assert.equal((await child.ended).status, 0);
    assert.deepEqual(await namesOf(fixture), ['c']);
  });

  test('a provision that waits for the destroy of its parent comes after it', async () => {
    for (const id of ['a', 'a/b']) await provisionIt(fixture, id);
    const destroy = later(fixture.provisioner.destroy('a'));
    const provision = provisionIt(fixture, 'a/b');
    assert.equal(await destroy, true);
    assert.ok(existsSync(join((await provision).rootfs, 'image')));
    assert.deepEqual(await namesOf(fixture), ['a/b']);
  });

  test('a process that is killed while it makes several root filesystems leaves nothing that destroy does not undo', async () => {
    await provisionIt(fixture, 'warm', { volumes: [volume()] });
    let halves = 0;
    for (let round = 0; round < 8; round++) {
      const volumes = [1, 2, 3].map((i) => ({ ...volume(), name: `v${i}`, readOnly: i === 1 }));
      const job = {
        what: 'provision',
        id: 'a/b',
        image: fixture.image('image'),
        backend: fixture.backend,
        volumes,
      } as const;
      const child = fixture.inProcess?.(job) ?? assert.fail('no processes');
      await until(async () => (await namesOf(fixture)).includes('a/b'), 'the claim');
      await new Promise((resolve) => setTimeout(resolve, round));
      child.kill();
      if ((await child.ended).status === 'SIGKILL') halves++;
      await fixture.provisioner.destroy('a');
      assert.deepEqual(fixture.state().directories, ['warm']);
    }
    assert.ok(halves > 0, 'none was killed after its claim');
  });

  /** Something mounted beside the root filesystem, which is not larder's to unmount. */
  function occupy(directory: string): () => void {
    const target = join(containers, directory, 'bundle');
    mkdirSync(target);
    bindMount({ source: '/tmp', target });
    return () => unmount(target);
  }

  function volume(): { name: string; image: ReturnType<ProvisionerFixture['image']> } {
    return { name: 'v', image: fixture.image('image') };
  }

  async function recover(known: readonly string[]): Promise<string[]> {
    const warnings: string[] = [];
    const onEvent = (event: LarderEvent): unknown => event.type === 'warning' && warnings.push(event.message);
    const provisioner: Pick<Provisioner, 'recover'> = fixture.provisioner;
    await provisioner.recover(known, { onEvent });
    return warnings;
  }
});
