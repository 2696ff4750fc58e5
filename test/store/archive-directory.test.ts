/** `docker_registry`: a directory of archives, or a registry, in the place of Docker Hub. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { dockerArchive, ociArchive, oldDockerArchive } from '../../src/testing/archive-builder.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { buildImage, writeOciLayout } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { tar } from '../../src/testing/tar-builder.js';
import { type ArchiveLab, diffIdsOf, plainImage, withArchives } from '../helpers/archives.js';

function inDirectory(work: (lab: ArchiveLab) => Promise<void>): Promise<void> {
  return withArchives(work, (directory) => ({ docker_registry: `${directory}/` }));
}

describe('docker_registry as a directory', () => {
  const names: Readonly<Record<string, readonly string[]>> = {
    'busybox.tar': ['busybox', 'busybox:latest', 'library/busybox', 'docker.io/library/busybox:latest'],
    'busybox:latest.tar': ['busybox', 'busybox:latest'],
    'busybox:1.36.tar': ['busybox:1.36'],
    'library/alpine.tar': ['alpine', 'library/alpine'],
    'docker.io/library/alpine:latest.tar': ['alpine'],
    'registry.io:5000/team/app:1.tar': ['registry.io:5000/team/app:1'],
    'busybox.tar.gz': ['busybox'],
  };
  for (const [file, references] of Object.entries(names)) {
    test(`${file} is what is pulled as ${references.join(', ')}, and the image keeps that name`, async () => {
      await inDirectory(async ({ write, pull, larder, directory }) => {
        const image = plainImage(file.replaceAll('/', '-'));
        mkdirSync(join(directory, file, '..'), { recursive: true });
        const bytes = tar(dockerArchive([{ image }]));
        write(file, file.endsWith('.gz') ? gzipSync(bytes) : bytes);
        for (const reference of references) {
          const { diffIds, record } = await pull(reference, { cached: false });
          assert.deepEqual(diffIds, diffIdsOf(image));
          assert.ok(!record.reference.includes('archive'), record.reference);
        }
        assert.equal(larder.images().length, 1);
      });
    });
  }

  test('an archive in the old form is looked into as Mesos does, with and without the registry in its repository', async () => {
    await inDirectory(async ({ write, pull, directory }) => {
      const archive = (repository: string) =>
        oldDockerArchive({ [repository]: { latest: '1' } }, [
          { id: '1', tar: sampleLayer(repository.replaceAll('/', '-')) },
        ]);
      write('abc.tar', archive('abc'));
      assert.equal((await pull('abc')).diffIds.length, 1);
      mkdirSync(join(directory, 'quay.io'));
      write('quay.io/abc.tar', archive('quay.io/abc'));
      assert.equal((await pull('quay.io/abc')).diffIds.length, 1);
    });
  });

  test('an archive of another name is found by what it holds', async () => {
    await inDirectory(async ({ write, pull, directory }) => {
      const [one, two] = [plainImage('one'), plainImage('two')];
      const [three, four] = [plainImage('three'), plainImage('four')];
      write('0-broken.tar', Buffer.from('not a tar'.repeat(200)));
      write(
        'all.tar',
        dockerArchive([
          { image: one, tags: ['one:1'] },
          { image: two, tags: ['quay.io/two'] },
        ]),
      );
      write('layout.tar', ociArchive({ 'docker.io/library/three:latest': three, other: one }));
      mkdirSync(join(directory, 'four'));
      writeOciLayout(join(directory, 'four'), { latest: four });
      assert.deepEqual((await pull('one:1')).diffIds, diffIdsOf(one));
      assert.deepEqual((await pull('quay.io/two')).diffIds, diffIdsOf(two));
      assert.deepEqual((await pull('three')).diffIds, diffIdsOf(three));
      assert.deepEqual((await pull('four')).diffIds, diffIdsOf(four));
      await assert.rejects(pull('one:2'), { code: 'LARDER_IMAGE_NOT_FOUND' });
    });
  });

  test('an archive that has the name but another image does not hide one that has it', async () => {
    await inDirectory(async ({ write, pull }) => {
      const [old, latest] = [plainImage('old'), plainImage('latest')];
      write('app.tar', dockerArchive([{ image: old, tags: ['app:1'] }]));
      write('other.tar', dockerArchive([{ image: latest, tags: ['app'] }]));
      assert.deepEqual((await pull('app')).diffIds, diffIdsOf(latest));
    });
  });

  test('an image by digest is only what has this digest', async () => {
    await inDirectory(async ({ write, pull }) => {
      const [image, other] = [plainImage('image'), plainImage('other')];
      write('app.tar', ociArchive({ latest: other }));
      const wanted = `app@${image.digest}`;
      await assert.rejects(pull(wanted), { code: 'LARDER_IMAGE_NOT_FOUND' });
      write('b.tar', ociArchive({ latest: image }));
      assert.equal((await pull(wanted)).record.digest, image.digest);
    });
  });

  test('an image that is here stands without its archive, and is asked for again with cached: false', async () => {
    await inDirectory(async ({ write, pull }) => {
      const [old, fresh] = [plainImage('old'), plainImage('new')];
      const path = write('app.tar', dockerArchive([{ image: old }]));
      await pull('app');
      write('app.tar', dockerArchive([{ image: fresh }]));
      assert.deepEqual((await pull('app')).diffIds, diffIdsOf(old));
      assert.deepEqual((await pull('app', { cached: false })).diffIds, diffIdsOf(fresh));
      rmSync(path);
      assert.deepEqual((await pull('app')).diffIds, diffIdsOf(fresh));
      await assert.rejects(pull('app', { cached: false }), { code: 'LARDER_IMAGE_NOT_FOUND' });
    });
  });
});

describe('docker_registry as a registry', () => {
  test('is asked for what has no registry in its name, and no other registry is meant by it', async () => {
    await using registry = await startRegistry();
    const image = buildImage({ layers: [{ tar: sampleLayer('one') }] });
    registry.addImage({ name: 'library/official', tag: 'latest', ...image });
    registry.addImage({ name: 'own', tag: 'latest', ...image });
    registry.addImage({ name: 'team/app', tag: '1', ...image });
    await withArchives(
      async ({ pull }) => {
        for (const name of ['official', 'own', 'team/app:1']) {
          const { diffIds, record } = await pull(name);
          assert.deepEqual(diffIds, diffIdsOf(image));
          assert.match(record.reference, /^docker\.io\//);
        }
        await assert.rejects(pull('none'), { code: 'LARDER_IMAGE_NOT_FOUND' });
        const before = registry.requests.length;
        await assert.rejects(pull('no-such-host.invalid/own'));
        assert.equal(registry.requests.length, before);
      },
      () => ({ docker_registry: `http://${registry.host}` }),
    );
  });
});

describe('docker_registry in HDFS', () => {
  /** A hadoop that has its files in a directory beside it, and talks as the real one does. */
  function makeHadoop(directory: string): string {
    const home = join(directory, 'hadoop');
    mkdirSync(join(home, 'bin'), { recursive: true });
    mkdirSync(join(home, 'files', 'library'), { recursive: true });
    const script = `#!/bin/sh
echo 'WARN util.NativeCodeLoader: Unable to load native-hadoop library' >&2
[ "$1 $2" = 'fs -copyToLocal' ] || exit 2
path=$(printf %s "$3" | sed 's#^hdfs://[^/]*##')
[ -e "${home}/files$path" ] || { echo "copyToLocal: $3: No such file or directory" >&2; exit 1; }
cp "${home}/files$path" "$4"
`;
    writeFileSync(join(home, 'bin', 'hadoop'), script, { mode: 0o755 });
    return home;
  }

  for (const url of ['hdfs://localhost:8020', 'hdfs://']) {
    test(`HdfsHost/ProvisionerDockerHdfsTest.ROOT_ImageTarPullerHdfsFetcherSimpleCommand: ${url} has archives by their names`, async () => {
      await withArchives(
        async ({ write, pull, fetched }) => {
          const [busybox, alpine] = [plainImage('busybox'), plainImage('alpine')];
          write('hadoop/files/busybox.tar', dockerArchive([{ image: busybox, tags: ['busybox'] }]));
          write('hadoop/files/library/alpine.tar', dockerArchive([{ image: alpine }]));
          assert.deepEqual((await pull('busybox')).diffIds, diffIdsOf(busybox));
          assert.deepEqual((await pull('alpine')).diffIds, diffIdsOf(alpine));
          fetched();
          await pull('busybox');
          assert.deepEqual(fetched(), []);
          await assert.rejects(pull('none'), { code: 'LARDER_IMAGE_NOT_FOUND' });
        },
        (directory) => ({ docker_registry: url, hadoop_home: makeHadoop(directory) }),
      );
    });
  }

  test('without a hadoop command says so', async () => {
    await withArchives(
      async ({ pull }) => {
        await assert.rejects(pull('busybox'), { code: 'LARDER_BACKEND_UNAVAILABLE', hint: /hadoop_home/ });
      },
      (directory) => ({ docker_registry: 'hdfs://', hadoop_home: directory }),
    );
  });
});
