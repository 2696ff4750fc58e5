/** Images out of what `docker save` writes, in each of its forms. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { digestOf, hexOf } from '../../src/spec/digest.js';
import { dockerArchive, dockerLayoutArchive, oldDockerArchive } from '../../src/testing/archive-builder.js';
import { buildImage, zstdFrame } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { diffIdsOf, plainImage, withArchives } from '../helpers/archives.js';
import { needsRoot } from '../helpers/temporary.js';

const ROOTFS = [
  tar([dir('.'), file('temp', 'layer 123')]),
  tar([dir('.'), file('temp', 'layer 456'), file('more', 'x')]),
] as const;
/** What Mesos's tests write into the layers of their archive. */
const V1 = {
  created: '2015-09-09T15:46:36.000000000Z',
  container: 'abc',
  container_config: { Cmd: ['/bin/sh', '-c', '#(nop) CMD'], Image: 'base' },
  docker_version: '1.8.2',
  author: 'somebody',
  config: { Hostname: 'h', Env: ['A=b'], Cmd: ['sh'], Image: 'base' },
  architecture: 'amd64',
  os: 'linux',
  Size: 12,
};

function mesosArchive(): Buffer[] {
  return oldDockerArchive({ abc: { latest: '456' } }, [
    { id: '123', tar: ROOTFS[0], json: { ...V1, config: null } },
    { id: '456', parent: '123', tar: ROOTFS[1], json: V1 },
  ]);
}

describe('an archive as Docker before 1.10 saves it', () => {
  test('ProvisionerDockerLocalStoreTest.LocalStoreTestWithTar: its layers are in order, base first, with their bytes', async () => {
    await withArchives(async ({ write, pull, larder }) => {
      const path = write('abc.tar', mesosArchive());
      const { reference, info, diffIds } = await pull(`docker-archive:${path}:abc`);
      assert.equal(reference, `docker-archive:${path}:docker.io/library/abc:latest`);
      assert.deepEqual(
        diffIds,
        ROOTFS.map((bytes) => digestOf(bytes)),
      );
      assert.deepEqual(
        info.layers.map((layer) => readFileSync(join(layer, 'layer.tar'))),
        [...ROOTFS],
      );
      await using image = await larder.pull(`docker-archive:${path}`);
      assert.equal(String(await image.fs.readFile('/temp')), 'layer 456');
    });
  });

  test('its Docker manifest is what the topmost layer says of itself, and its config is the one that Docker makes of it', async () => {
    await withArchives(async ({ write, pull }) => {
      const path = write('abc.tar', mesosArchive());
      const { info, record } = await pull(`docker-archive:${path}`);
      assert.deepEqual(info.dockerManifest, { id: '456', parent: '123', ...V1 });
      const config = JSON.parse(readFileSync(info.config ?? '', 'utf8'));
      assert.deepEqual(config.rootfs, { type: 'layers', diff_ids: ROOTFS.map((bytes) => digestOf(bytes)) });
      assert.deepEqual(config.config, V1.config);
      assert.equal(config.history.length, 2);
      assert.equal(config.id, undefined);
      assert.equal(record.extraBlobs?.length, 1);
    });
  });

  test('ProvisionerDockerLocalStoreTest.MetadataManagerInitialization: another store over the same directory answers the same layers', async () => {
    await withArchives(async ({ write, pull, directory }) => {
      const path = write('abc.tar', mesosArchive());
      const { info } = await pull(`docker-archive:${path}`);
      rmSync(path);
      const { openLarder } = await import('../../src/larder.js');
      await using again = await openLarder({ root: join(directory, 'store') });
      await again.recover([]);
      await using image = await again.pull(`docker-archive:${path}`);
      assert.deepEqual(image.info, info);
    });
  });

  test('ProvisionerDockerLocalStoreTest.MissingLayer: a layer that is lost is taken from the archive again, and only that', async () => {
    await withArchives(async ({ write, pull, fetched }) => {
      const path = write('abc.tar', mesosArchive());
      const { info, diffIds } = await pull(`docker-archive:${path}`);
      fetched();
      rmSync(info.layers[0] ?? '', { recursive: true });
      assert.deepEqual((await pull(`docker-archive:${path}`)).info, info);
      assert.deepEqual(fetched(), [diffIds[0]]);
      assert.deepEqual(readFileSync(join(info.layers[0] ?? '', 'layer.tar')), ROOTFS[0]);
    });
  });

  test('layers that are compressed are read, too', async () => {
    await withArchives(async ({ write, pull }) => {
      const layer = { id: '1', tar: gzipSync(ROOTFS[0]), json: V1 };
      const path = write('abc.tar', oldDockerArchive({ abc: { latest: '1' } }, [layer]));
      const { diffIds, record } = await pull(`docker-archive:${path}`);
      assert.deepEqual(diffIds, [digestOf(ROOTFS[0])]);
      assert.equal(record.layers[0]?.digest, digestOf(layer.tar));
    });
  });
});

describe('an archive as docker save writes it', () => {
  const forms = { 'with folders and links': dockerArchive, 'with an OCI layout in it': dockerLayoutArchive };
  for (const [form, write] of Object.entries(forms)) {
    test(`${form}: each image is found by its name, and layers that images share are stored once`, async () => {
      await withArchives(async (lab) => {
        const [one, two] = [plainImage('base', 'one'), plainImage('base', 'two')];
        const path = lab.write(
          'all.tar',
          write([
            { image: one, tags: ['one:1', 'quay.io/x/one'] },
            { image: two, tags: ['two'] },
          ]),
        );
        assert.deepEqual((await lab.pull(`docker-archive:${path}:one:1`)).diffIds, diffIdsOf(one));
        assert.deepEqual((await lab.pull(`docker-archive:${path}:quay.io/x/one`)).diffIds, diffIdsOf(one));
        assert.equal(lab.fetched().length, 2);
        const { diffIds, record } = await lab.pull(`docker-archive:${path}:two`);
        assert.deepEqual(diffIds, diffIdsOf(two));
        assert.equal(record.config, two.configDigest);
        assert.deepEqual(lab.fetched(), diffIdsOf(two).slice(1));
        assert.deepEqual((await lab.pull(`docker-archive:${path}:@1`)).diffIds, diffIdsOf(two));
        const missing = lab.pull(`docker-archive:${path}:three`);
        await assert.rejects(missing, { code: 'LARDER_IMAGE_NOT_FOUND', hint: /docker\.io\/library\/two:latest/ });
        const unnamed = lab.pull(`docker-archive:${path}`);
        await assert.rejects(unnamed, { code: 'LARDER_REFERENCE_INVALID', hint: /docker\.io\/library\/one:1/ });
        await assert.rejects(lab.pull(`docker-archive:${path}:@2`), { code: 'LARDER_IMAGE_NOT_FOUND' });
      });
    });
  }

  for (const compression of ['gzip', 'zstd'] as const) {
    test(`layers in ${compression} are proven by what they hash to`, async () => {
      await withArchives(async ({ write, pull }) => {
        const image = buildImage({ layers: ['a', 'b'].map((name) => ({ tar: sampleLayer(name), compression })) });
        const plain = await pull(`docker-archive:${write('1.tar', dockerArchive([{ image }]))}`);
        assert.deepEqual(
          plain.record.layers.map(({ digest }) => digest),
          image.layers.map(({ digest }) => digest),
        );
        const layout = await pull(`docker-archive:${write('2.tar', dockerLayoutArchive([{ image }]))}`);
        assert.deepEqual(layout.record.layers, plain.record.layers);
      });
    });
  }

  const whole = { gzip: (bytes: Buffer) => gzipSync(bytes), zstd: (bytes: Buffer) => zstdFrame(bytes) };
  for (const [name, compress] of Object.entries(whole)) {
    test(`compressed with ${name} as a whole it is uncompressed on the way, and nothing of that stays`, async () => {
      await withArchives(async ({ write, pull, fetched }) => {
        const image = plainImage('base', 'top');
        const path = write('x.tar.z', compress(tar(dockerArchive([{ image, tags: ['x'] }]))));
        assert.deepEqual((await pull(`docker-archive:${path}`)).diffIds, diffIdsOf(image));
        fetched();
        assert.deepEqual((await pull(`docker-archive:${path}`)).diffIds, diffIdsOf(image));
        assert.deepEqual(fetched(), []);
      });
    });
  }

  test('one name for several platforms gives this machine’s, and another one where asked for', async () => {
    await withArchives(async ({ write, pull }) => {
      const images = ['linux/amd64', 'linux/s390x'].map((platform) =>
        buildImage({ platform, layers: [{ tar: sampleLayer(platform.replace('/', '-')), compression: 'none' }] }),
      );
      const path = write('multi.tar', dockerArchive(images.map((image) => ({ image, tags: ['multi'] }))));
      for (const image of images) {
        const { diffIds } = await pull(`docker-archive:${path}`, { platform: image.platform });
        assert.deepEqual(diffIds, diffIdsOf(image));
      }
      const other = pull(`docker-archive:${path}`, { platform: 'linux/riscv64' });
      await assert.rejects(other, { code: 'LARDER_PLATFORM_NOT_FOUND' });
    });
  });

  test('members may begin with ./ as those of an archive that was packed by hand', async () => {
    await withArchives(async ({ write, pull }) => {
      const image = plainImage('one');
      const members = [
        dir('./'),
        file('./c.json', image.config),
        file('./l/layer.tar', image.layers[0]?.blob),
        file('./manifest.json', JSON.stringify([{ Config: 'c.json', RepoTags: null, Layers: ['l/layer.tar'] }])),
      ];
      assert.deepEqual((await pull(`docker-archive:${write('x.tar', members)}`)).diffIds, diffIdsOf(image));
    });
  });
});

describe('an image of an archive', () => {
  test('is a hit while the archive says the same, follows it when it changes, and stands when it is gone', async () => {
    await withArchives(async ({ write, pull, fetched }) => {
      const [old, fresh] = [plainImage('base', 'old'), plainImage('base', 'new')];
      const path = write('x.tar', dockerArchive([{ image: old, tags: ['x'] }]));
      const name = `docker-archive:${path}`;
      assert.deepEqual((await pull(name)).diffIds, diffIdsOf(old));
      fetched();
      assert.deepEqual((await pull(name)).diffIds, diffIdsOf(old));
      assert.deepEqual(fetched(), []);
      write('x.tar', dockerArchive([{ image: fresh, tags: ['x'] }]));
      assert.deepEqual((await pull(name)).diffIds, diffIdsOf(fresh));
      assert.deepEqual(fetched(), diffIdsOf(fresh).slice(1));
      rmSync(path);
      assert.deepEqual((await pull(name)).diffIds, diffIdsOf(fresh));
      await assert.rejects(pull(name, { cached: false }), { code: 'LARDER_IMAGE_NOT_FOUND' });
    });
  });

  test('whose archive no longer has it is refused, although the image is here', async () => {
    await withArchives(async ({ write, pull }) => {
      const path = write('x.tar', dockerArchive([{ image: plainImage('one'), tags: ['x'] }]));
      await pull(`docker-archive:${path}:x`);
      write('x.tar', dockerArchive([{ image: plainImage('two'), tags: ['y'] }]));
      await assert.rejects(pull(`docker-archive:${path}:x`), { code: 'LARDER_IMAGE_NOT_FOUND' });
    });
  });

  test('opened as it is stays what it was, whatever became of the archive', async () => {
    await withArchives(async ({ write, pull, larder }) => {
      const image = plainImage('old');
      const path = write('x.tar', dockerArchive([{ image }]));
      await pull(`docker-archive:${path}`);
      write(
        'x.tar',
        'no archive at all'
          .repeat(100)
          .split('')
          .map((c) => Buffer.from(c)),
      );
      await using opened = await larder.open(`docker-archive:${path}`);
      assert.equal(opened.imageId, image.configDigest);
    });
  });

  test('has one name, however its path is written, and is found, removed and excluded by it', async () => {
    await withArchives(async ({ write, pull, larder, directory }) => {
      const path = write('x.tar', dockerArchive([{ image: plainImage('one'), tags: ['x'] }]));
      const { reference } = await pull(`docker-archive:${directory}//./y/../x.tar:x`);
      assert.equal(reference, `docker-archive:${path}:docker.io/library/x:latest`);
      assert.equal((await larder.find(`docker-archive:${path}:x:latest`)).reference, reference);
      assert.deepEqual((await larder.prune({ exclude: [`docker-archive:${path}:x`] })).images, []);
      assert.equal((await larder.remove(`docker-archive:${path}:x`)).images.length, 1);
      assert.deepEqual(larder.images(), []);
    });
  });

  test('may be named through a symbolic link', async () => {
    await withArchives(async ({ write, pull, directory }) => {
      const image = plainImage('one');
      write('real.tar', dockerArchive([{ image }]));
      symlinkSync('real.tar', join(directory, 'link.tar'));
      assert.deepEqual((await pull(`docker-archive:${join(directory, 'link.tar')}`)).diffIds, diffIdsOf(image));
    });
  });

  test('ProvisionerDockerTest.ROOT_ImageTarPullerSimpleCommand: becomes the root filesystem of a container', {
    skip: needsRoot,
  }, async () => {
    await withArchives(async ({ write, larder }) => {
      const path = write('alpine.tar', mesosArchive());
      const { rootfs } = await larder.provision(`docker-archive:${path}`, { id: 'c' });
      assert.equal(readFileSync(join(rootfs, 'temp'), 'utf8'), 'layer 456');
      await assert.rejects(larder.remove(`docker-archive:${path}`), { code: 'LARDER_IMAGE_IN_USE' });
      await larder.destroy('c');
      await larder.remove(`docker-archive:${path}`);
      assert.deepEqual(larder.images(), []);
    });
  });

  test('ProvisionerDockerLocalStoreTest.PullingSameImageSimultaneously: is pulled once by those who ask for it at the same time', async () => {
    await withArchives(async ({ write, larder }) => {
      const image = plainImage('one', 'two');
      const path = write('x.tar', dockerArchive([{ image }]));
      let commits = 0;
      const all = await Promise.all(
        Array.from({ length: 8 }, () =>
          larder.pull(`docker-archive:${path}`, {
            onEvent: ({ type }) => {
              if (type === 'commit') commits++;
            },
          }),
        ),
      );
      for (const one of all) await one[Symbol.asyncDispose]();
      // Each of the waiters is told of the one commit.
      assert.equal(commits, 8);
      assert.equal(larder.images().length, 1);
    });
  });
});

describe('a damaged archive', () => {
  const image = plainImage('base', 'top');
  const whole = tar(dockerArchive([{ image, tags: ['x'] }]));

  test('whose layer has other bytes is refused, and nothing of the image is there', async () => {
    await withArchives(async ({ write, pull, larder }) => {
      const broken = Buffer.from(whole);
      const at = broken.indexOf('this is top');
      broken[at] = 0x54;
      await assert.rejects(pull(`docker-archive:${write('x.tar', broken)}`), {
        code: /DIGEST_MISMATCH|DIFF_ID_MISMATCH/,
      });
      assert.deepEqual(larder.images(), []);
      await larder.prune();
    });
  });

  test('that is cut anywhere is refused', async () => {
    await withArchives(async ({ write, pull, larder }) => {
      const path = write('x.tar', whole);
      for (const size of [whole.length - 1300, 6000, 700, 100, 0]) {
        truncateSync(path, size);
        await assert.rejects(pull(`docker-archive:${path}`), { code: 'LARDER_ARCHIVE_INVALID' }, `${size} bytes`);
      }
      assert.deepEqual(larder.images(), []);
    });
  });

  test('whose config is not what its name says is refused', async () => {
    await withArchives(async ({ write, pull }) => {
      const config = `${hexOf(image.configDigest)}.json`;
      const members = [...dockerArchive([{ image }]), file(config, Buffer.concat([image.config, Buffer.from(' ')]))];
      await assert.rejects(pull(`docker-archive:${write('x.tar', members)}`), { code: 'LARDER_DIGEST_MISMATCH' });
    });
  });

  test('that is gzip and cut is refused', async () => {
    await withArchives(async ({ write, pull }) => {
      const compressed = gzipSync(whole);
      const path = write('x.tar.gz', compressed.subarray(0, compressed.length / 2));
      await assert.rejects(pull(`docker-archive:${path}`), { code: 'LARDER_ARCHIVE_INVALID' });
    });
  });

  test('that grows behind its end or is replaced meanwhile still gives proven bytes or a refusal', async () => {
    await withArchives(async ({ write, pull }) => {
      const path = write('x.tar', whole);
      appendFileSync(path, Buffer.alloc(5000, 'x'));
      assert.deepEqual((await pull(`docker-archive:${path}`)).diffIds, diffIdsOf(image));
      renameSync(path, `${path}.old`);
      write('x.tar', whole);
      assert.deepEqual((await pull(`docker-archive:${path}`)).diffIds, diffIdsOf(image));
    });
  });
});
