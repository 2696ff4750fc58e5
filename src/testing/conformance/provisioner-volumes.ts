/** Several images in one container: cases of the provisioner's suite. */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProvisionInfo, VolumeRequest } from '../../provisioner.js';
import { sampleLayer } from '../image-source.js';
import { type ProvisionerCase, type ProvisionerFixture, provisionIt, requireNothing } from './provisioner-fixture.js';

export const volumeCases: Record<string, ProvisionerCase> = {
  'images beside the container’s own are volumes of it, listed by name, and go with it': async (fixture) => {
    const info = await withVolumes(fixture, 'c', { readOnly: false });
    assert.equal(readFileSync(join(info.rootfs, 'image'), 'utf8'), 'this is image\n');
    const volume = info.volumes[0] ?? assert.fail('no volume');
    assert.equal(volume.name, 'data');
    assert.equal(volume.reference, `${fixture.source.reference('other')}:latest`);
    assert.equal(readFileSync(join(volume.rootfs, 'other'), 'utf8'), 'this is other\n');
    const { images } = await fixture.provisioner.claimOf('c');
    assert.deepEqual(
      images.map(({ name, rootfs }) => [name, rootfs]),
      [
        ['', info.rootfs],
        ['data', volume.rootfs],
      ],
    );
    assert.equal(await fixture.provisioner.destroy('c'), true);
    await requireNothing(fixture);
  },
  'two images in one container are both claimed: prune takes neither, nobody removes one': async (fixture) => {
    const info = await withVolumes(fixture, 'c');
    const paths = [...info.layers, ...info.volumes.flatMap(({ layers }) => layers)];
    // Only some types of images have one.
    const configs = [info.config, ...info.volumes.map(({ config }) => config)].filter((path) => path !== undefined);
    await fixture.provisioner.pruneImages([]);
    for (const path of paths) assert.ok(existsSync(join(path, 'layer.tar')), path);
    for (const path of configs) assert.ok(existsSync(path), path);
    for (const name of ['image', 'other']) {
      await assert.rejects(fixture.remove(fixture.image(name)), { code: 'LARDER_IMAGE_IN_USE' }, name);
    }
    await fixture.provisioner.destroy('c');
    await fixture.provisioner.pruneImages([]);
    for (const path of paths) assert.ok(!existsSync(path), path);
  },
  'a volume is read-only unless it is to be written': async (fixture) => {
    const info = await withVolumes(
      fixture,
      'c',
      {},
      { name: 'scratch', image: fixture.image('other'), readOnly: false },
    );
    const [data = assert.fail(), scratch = assert.fail()] = info.volumes;
    assert.deepEqual([data.readOnly, scratch.readOnly], [true, false]);
    writeFileSync(join(scratch.rootfs, 'new'), 'x');
    assert.ok(!existsSync(join(data.rootfs, 'new')));
    // Without the right to mount, a copy can be written, and says so.
    if (info.warnings.length > 0) return;
    assert.throws(() => writeFileSync(join(data.rootfs, 'new'), 'x'), { code: 'EROFS' });
    assert.deepEqual(data.ephemeralVolumes, []);
  },
  'what takes the writes of any of its root filesystems is reported for quota': async (fixture) => {
    const info = await withVolumes(fixture, 'c', { readOnly: false });
    const own = info.ephemeralVolumes.filter((path) => !path.includes('/volumes/'));
    const of = info.volumes.flatMap(({ ephemeralVolumes }) => ephemeralVolumes);
    assert.ok(own.length > 0 && of.length > 0);
    assert.deepEqual(info.ephemeralVolumes, [...own, ...of]);
    for (const path of info.ephemeralVolumes) assert.ok(lstatSync(path).isDirectory(), path);
  },
  'one image twice in a container are two root filesystems of it': async (fixture) => {
    fixture.publish();
    const image = fixture.image('image');
    const volumes = [
      { name: 'one', image, readOnly: false },
      { name: 'two', image, readOnly: false },
      { name: 'three', image },
    ];
    const info = await provisionIt(fixture, 'c', { volumes });
    const [one = assert.fail(), two = assert.fail()] = info.volumes;
    writeFileSync(join(one.rootfs, 'image'), 'changed');
    assert.equal(readFileSync(join(two.rootfs, 'image'), 'utf8'), 'this is image\n');
    assert.equal(readFileSync(join(info.rootfs, 'image'), 'utf8'), 'this is image\n');
    if (fixture.sharesMounts) assert.equal(fixture.state().imageMounts.length, 1);
    await fixture.provisioner.destroy('c');
    await requireNothing(fixture);
  },
  'a container may have volumes and no image of its own': async (fixture) => {
    if (fixture.provisioner.provisionVolumes === undefined) return;
    const volumes = volumesOf(fixture, { readOnly: false });
    const info = await fixture.provisioner.provisionVolumes('c', { backend: fixture.backend, volumes });
    assert.equal(readFileSync(join(info.volumes[0]?.rootfs ?? '', 'other'), 'utf8'), 'this is other\n');
    assert.deepEqual(
      (await fixture.provisioner.claimOf('c')).images.map(({ name }) => name),
      ['data'],
    );
    const none = fixture.provisioner.provisionVolumes('d', { backend: fixture.backend });
    await assert.rejects(none, { code: 'LARDER_REQUEST_INVALID' });
    assert.equal(await fixture.provisioner.destroy('c'), true);
  },
  'a volume whose image is not there leaves nothing of the container': async (fixture) => {
    const volumes = [{ name: 'v', image: fixture.image('nowhere') }];
    await assert.rejects(provisionIt(fixture, 'c', { volumes }), { code: 'LARDER_IMAGE_NOT_FOUND' });
    await requireNothing(fixture);
    await fixture.provisioner.pruneImages([]);
  },
  'a volume that cannot be made leaves nothing of the container': async (fixture) => {
    const restore = await fixture.breakImage();
    fixture.source.publish('other', [sampleLayer('other')]);
    const volumes = [{ name: 'broken', image: fixture.image('image') }];
    const provision = fixture.provisioner.provision('c', fixture.image('other'), { backend: fixture.backend, volumes });
    await assert.rejects(provision, { code: 'LARDER_LAYER_CORRUPT' });
    await requireNothing(fixture);
    await restore();
    await withVolumes(fixture, 'c');
  },
  'volume names that are none, and names given twice, are refused': async (fixture) => {
    const image = fixture.image('image');
    for (const name of ['', '.', '..', 'a/b', '../up', '-x', 'x'.repeat(129), 'a\nb']) {
      const provision = provisionIt(fixture, 'c', { volumes: [{ name, image }] });
      await assert.rejects(provision, { code: 'LARDER_REQUEST_INVALID' }, JSON.stringify(name));
    }
    const twice = provisionIt(fixture, 'c', { volumes: [1, 2].map(() => ({ name: 'v', image })) });
    await assert.rejects(twice, { code: 'LARDER_REQUEST_INVALID' });
    await requireNothing(fixture);
  },
  'after a reboot volumes are as they were': async (fixture) => {
    if (fixture.reboot === undefined) return;
    const info = await withVolumes(
      fixture,
      'c',
      {},
      { name: 'scratch', image: fixture.image('other'), readOnly: false },
    );
    const [data = assert.fail(), scratch = assert.fail()] = info.volumes;
    writeFileSync(join(scratch.rootfs, 'mine'), 'x');
    const { mounts } = fixture.state();
    fixture.reboot();
    await fixture.provisioner.recover(['c']);
    assert.deepEqual(fixture.state().mounts.toSorted(), mounts.toSorted());
    assert.equal(readFileSync(join(scratch.rootfs, 'mine'), 'utf8'), 'x');
    assert.throws(() => writeFileSync(join(data.rootfs, 'new'), 'x'), { code: 'EROFS' });
  },
};

function volumesOf(fixture: ProvisionerFixture, first: Partial<VolumeRequest>): VolumeRequest[] {
  fixture.source.publish('other', [sampleLayer('other')]);
  return [{ name: 'data', image: fixture.image('other'), ...first }];
}

/** A container of `image`, with `other` as its volume `data`. */
function withVolumes(
  fixture: ProvisionerFixture,
  id: string,
  first: Partial<VolumeRequest> = {},
  ...more: readonly VolumeRequest[]
): Promise<ProvisionInfo> {
  return provisionIt(fixture, id, { volumes: [...volumesOf(fixture, first), ...more] });
}
