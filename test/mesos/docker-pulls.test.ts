/**
 * Mesos runs tasks from images of public registries. Here the registry is Debian's docker-registry on the loopback, the
 * images are made of this machine's programs, and the task is `larder run`.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { type BuiltImage, buildImage, buildIndex } from '../../src/testing/image-builder.js';
import { dir, file, tar, whiteout } from '../../src/testing/tar-builder.js';
import { DockerRegistry } from '../e2e/docker-registry.js';
import { needs } from '../e2e/tools.js';
import { CommandHome } from '../helpers/command.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { programs, RUN_NEEDS, staticProgram } from './programs.js';

/** Debian's is linked statically. */
const STATIC = '/sbin/ldconfig';
const isStatic = /static|not a dynamic/.test(
  spawnSync('sh', ['-c', `ldd ${STATIC} 2>&1`], { encoding: 'utf8' }).stdout,
);

describe('images of a registry, as Mesos runs them', { skip: RUN_NEEDS || needs('docker-registry') }, () => {
  const directory = makeDirectory();
  let registry: DockerRegistry;
  let home: CommandHome;
  let image: BuiltImage;

  before(async () => {
    registry = await DockerRegistry.start(join(directory, 'registry'));
    const tools = programs('/bin/sh', '/bin/ls', '/usr/bin/id', '/usr/bin/env');
    image = imageOf([tools, tar([file('etc/motd', 'first\n')])], { docker: true });
    await registry.push('library/alpine:latest', image);
    await registry.push('team/alpine-sh:latest', image);
    await registry.push('team/busybox:1.24', image);
    const zstd = imageOf([tools, tar([file('etc/motd', 'first\n')])], { compression: 'zstd' });
    await registry.push('team/busybox:1.27', zstd);
  });
  after(async () => {
    await registry?.close();
    removeDirectory(directory);
  });
  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(async () => {
    assert.equal(await home.ok('containers'), 'no containers');
    assert.equal(await home.ok('check', '--deep'), 'clean');
    home.dispose();
  });

  async function run(...args: readonly string[]): Promise<string> {
    const flag = ['--docker-registry', `http://${registry.host}`];
    const { status, stdout, stderr } = await home.run(['run', ...flag, ...args], { env: { LARDER_LOG: 'error' } });
    assert.equal(status, 0, stderr);
    return stdout;
  }

  const names: Readonly<Record<string, string>> = {
    alpine: 'a name of docker_registry',
    'library/alpine': 'the same image, in full',
    'HOST/team/busybox:1.24': 'another registry, schema 2',
    'HOST/team/busybox:1.27': 'another registry, an OCI image',
    'HOST/team/alpine-sh': 'no tag',
  };
  for (const [name, what] of Object.entries(names)) {
    test(`ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_SimpleCommand (${name}): ${what}`, async () => {
      const reference = name.replace('HOST', registry.host);
      assert.match(await run(reference, '--', 'ls', '-al', '/'), / etc\n[\s\S]* usr\n/);
    });
  }

  test('ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ImageForcePulling: the second time asks again, and sees that the tag moved', async () => {
    await registry.push('team/moving:latest', image);
    const reference = `${registry.host}/team/moving`;
    const show = [reference, '--', 'sh', '-c', 'read x < /etc/motd; echo $x'];
    assert.equal(await run(...show), 'first\n');
    await registry.push('team/moving:latest', imageOf([programs('/bin/sh'), tar([file('etc/motd', 'second\n')])]));
    assert.equal(await run(...show), 'first\n');
    assert.equal(await run('--refresh', ...show), 'second\n');
  });

  test('ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ScratchImage: an image of one static program runs by its entrypoint alone', {
    skip: isStatic ? false : `${STATIC} is not static here`,
  }, async () => {
    const scratch = imageOf([staticProgram(STATIC, 'hello')], { config: { Entrypoint: ['/hello', '--version'] } });
    await registry.push('library/hello-world:latest', scratch);
    assert.match(await run('hello-world'), /^ldconfig /);
  });

  test('ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ImageDigest: by a digest it is these very bytes', async () => {
    assert.match(await run(`${registry.host}/team/busybox@${image.digest}`, '--', 'ls', '/'), /^etc$/m);
    const { status, stderr } = await home.run(['pull', `${registry.host}/team/busybox@sha256:${'0'.repeat(64)}`]);
    assert.equal(status, 3, stderr);
  });

  test('ProvisionerDockerTest.ROOT_INTERNET_CURL_UNPRIVILEGED_USER_CommandTaskUser: the program and what it writes are that user’s', async () => {
    const script = 'id -u; id -un; echo x > /tmp/made; ls -ln /tmp';
    const said = await run('--user', 'app', 'alpine', '--', 'sh', '-c', script);
    assert.match(said, /^1000\napp\n[\s\S]* 1000 +1000 +2 [^\n]* made\n$/);
  });

  test('flaw 17: of an image index it is this machine’s image that runs', async () => {
    const other = imageOf([tar([dir('.'), file('foreign')])], { platform: 'linux/s390x' });
    await registry.push('team/index:latest', buildIndex([other, image]));
    assert.match(await run(`${registry.host}/team/index`, '--', 'ls', '/'), /^usr$/m);
  });

  test('flaw 18: a layer with a name and its own whiteout is no failed pull', async () => {
    const both = tar([whiteout('etc/motd'), file('etc/motd', 'again\n')]);
    await registry.push('team/both:latest', imageOf([programs('/bin/sh'), tar([file('etc/motd', 'below\n')]), both]));
    const show = ['--', 'sh', '-c', 'read x < /etc/motd; echo $x'];
    assert.equal(await run(`${registry.host}/team/both`, ...show), 'again\n');
  });
});

interface Made {
  readonly docker?: boolean;
  readonly platform?: string;
  readonly compression?: 'gzip' | 'zstd';
  readonly config?: Readonly<Record<string, unknown>>;
}

function imageOf(tars: readonly Buffer[], { compression = 'gzip', config, ...options }: Made = {}): BuiltImage {
  return buildImage({
    ...options,
    config: config ?? { Env: ['PATH=/bin'] },
    layers: tars.map((layer) => ({ tar: layer, compression })),
  });
}
