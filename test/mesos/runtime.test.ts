/** What Mesos's docker/runtime isolator makes of an image and a command, with programs that run. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import type { Larder } from '../../src/larder.js';
import { type CommandInfo, commandOf } from '../../src/spec/runtime.js';
import { oldDockerArchive } from '../../src/testing/archive-builder.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { buildSchema1Image } from '../../src/testing/schema1-builder.js';
import { file, tar } from '../../src/testing/tar-builder.js';
import { withArchives } from '../helpers/archives.js';
import { needsRoot } from '../helpers/temporary.js';
import { programs } from './programs.js';

type Wishes = Readonly<Record<string, unknown>>;

const CMD: Wishes = { Entrypoint: null, Cmd: ['sh'] };
const ENTRYPOINT: Wishes = { Entrypoint: ['echo'], Cmd: null };
const SAY: CommandInfo = { shell: false, arguments: ['-c', "echo 'hello world'"] };
const WORDS: CommandInfo = { shell: false, arguments: ['hello world'] };

describe('a command and an image, as the docker/runtime isolator combines them', { skip: needsRoot }, () => {
  let source: ImageSource;
  let tools: Buffer;
  before(async () => {
    source = await ImageSource.start();
    tools = programs('/bin/sh', '/bin/echo', '/bin/ls');
  });
  after(() => source?.[Symbol.asyncDispose]());

  /** `alpine.tar` in the directory that is `docker_registry`. */
  async function withLocal(wishes: Wishes, work: (larder: Larder) => Promise<void>): Promise<void> {
    await withArchives(
      async ({ larder, write }) => {
        write('alpine.tar', alpineArchive(tools, wishes));
        await work(larder);
      },
      (directory) => ({ docker_registry: directory }),
    );
  }

  test('DockerArchiveTest.ROOT_CreateDockerLocalTar: an archive of an image is one file, and an image again', async () => {
    await withLocal(CMD, async (larder) => {
      await using image = await larder.pull('alpine');
      assert.equal(image.record.layers.length, 2);
      assert.equal((await image.fs.readFile('/etc/alpine')).toString(), 'yes\n');
    });
  });

  test('DockerRuntimeIsolatorTest.ROOT_DockerDefaultCmdLocalPuller: arguments follow the program of Cmd', async () => {
    await withLocal(CMD, async (larder) => assert.equal(await output(larder, 'alpine', SAY), 'hello world\n'));
  });

  test('DockerRuntimeIsolatorTest.ROOT_DockerDefaultEntryptLocalPuller: arguments follow Entrypoint', async () => {
    await withLocal(ENTRYPOINT, async (larder) => assert.equal(await output(larder, 'alpine', WORDS), 'hello world\n'));
  });

  test('DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_DockerDefaultCmdRegistryPuller: the same from a registry', async () => {
    source.publish('cmd', [tools], { config: CMD });
    await withArchives(async ({ larder }) => {
      assert.equal(await output(larder, source.reference('cmd'), SAY), 'hello world\n');
    });
  });

  test('DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_DockerDefaultEntryptRegistryPuller: the same from a registry', async () => {
    source.publish('entry', [tools], { config: ENTRYPOINT });
    await withArchives(async ({ larder }) => {
      assert.equal(await output(larder, source.reference('entry'), WORDS), 'hello world\n');
    });
  });

  for (const signed of [true, false]) {
    test(`ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_SimpleCommand (schema 1, ${signed ? 'signed' : 'not signed'}): runs`, async () => {
      const layers = [{ tar: tools }, 'empty'] as const;
      const image = buildSchema1Image({ layers, config: CMD, name: 'coreos/alpine-sh', signed });
      source.registry.addImage({ name: 'coreos/alpine-sh', tag: `${signed}`, ...image });
      await withArchives(async ({ larder }) => {
        assert.equal(await output(larder, `${source.reference('coreos/alpine-sh')}:${signed}`, SAY), 'hello world\n');
      });
    });
  }

  test('DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_NestedSimpleCommand: a program of the caller in a nested container', async () => {
    source.publish('plain', [tools], { config: {} });
    await withArchives(async ({ larder }) => {
      const said = await output(
        larder,
        source.reference('plain'),
        { shell: false, value: '/bin/ls', arguments: ['ls', '/'] },
        'task/nested',
      );
      assert.match(said, /^usr$/m);
    });
  });

  test('DockerRuntimeIsolatorTest.ROOT_NestedDockerDefaultCmdLocalPuller (MESOS-6852): arguments of a nested container are appended', async () => {
    await withLocal(CMD, async (larder) =>
      assert.equal(await output(larder, 'alpine', SAY, 'task/nested'), 'hello world\n'),
    );
  });

  test('DockerRuntimeIsolatorTest.ROOT_NestedDockerDefaultEntryptLocalPuller (MESOS-6852): arguments of a nested container are appended', async () => {
    await withLocal(ENTRYPOINT, async (larder) =>
      assert.equal(await output(larder, 'alpine', WORDS, 'task/nested'), 'hello world\n'),
    );
  });

  test('flaw 4: an image whose JSON has no config is an image without wishes, and ends nobody', async () => {
    await withArchives(
      async ({ larder, write }) => {
        write('alpine.tar', tar(oldDockerArchive({ alpine: { latest: '456' } }, [{ id: '456', tar: tools }])));
        assert.equal(await output(larder, 'alpine', { value: 'echo on' }), 'on\n');
        await using image = await larder.pull('alpine');
        assert.throws(() => commandOf(image.runtime, { shell: false }), { code: 'LARDER_REQUEST_INVALID' });
      },
      (directory) => ({ docker_registry: directory }),
    );
  });
});

/** What the command says in a root filesystem of the image. */
async function output(larder: Larder, reference: string, command: CommandInfo, id = 'task'): Promise<string> {
  await using image = await larder.pull(reference);
  const { argv, program } = commandOf(image.runtime, command);
  if (id.includes('/')) await larder.provision(reference, { id: id.slice(0, id.indexOf('/')) });
  const { rootfs } = await larder.provision(reference, { id });
  try {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    return execFileSync('chroot', [rootfs, program, ...argv.slice(1)], { encoding: 'utf8', env });
  } finally {
    await larder.destroy(id.split('/')[0] ?? id);
  }
}

/** As Mesos's tests make it: the topmost layer's `json` has what the image wishes. */
function alpineArchive(tools: Buffer, config: Wishes): Buffer {
  return tar(
    oldDockerArchive({ alpine: { latest: '456' } }, [
      { id: '123', tar: tools },
      { id: '456', parent: '123', tar: tar([file('etc/alpine', 'yes\n')]), json: { config } },
    ]),
  );
}
