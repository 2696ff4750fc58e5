/** Every command as a user has it: a process of its own, its text, its JSON and its exit status. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { unmountTree } from '../../src/linux/unmount-tree.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, symlink, tar } from '../../src/testing/tar-builder.js';
import { CommandHome } from '../helpers/command.js';

const notRoot = process.getuid?.() === 0 ? false : 'mounting needs root';

describe('the command', () => {
  let source: ImageSource;
  let home: CommandHome;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('library/demo');
    const top = tar([
      dir('.'),
      dir('etc'),
      file('etc/motd', 'hello\n', { mode: 0o4755, uid: 3, gid: 4, mtime: 1_000_000_000 }),
      symlink('link', 'etc/motd'),
    ]);
    source.publish('library/demo', [sampleLayer('base', 10_000), top], { config: { Env: ['A=b'], Cmd: ['/bin/x'] } });
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(async () => {
    source.setFault();
    await home.ok('prune');
    assert.equal(await home.ok('check'), 'clean');
    home.dispose();
  });

  async function json(...args: readonly string[]): Promise<ReturnType<typeof JSON.parse>> {
    return JSON.parse(await home.ok('--json', ...args));
  }

  test('pull fetches, says what it did on stderr and what there is on stdout', async () => {
    const { status, stdout, stderr } = await home.run(['pull', reference]);
    assert.equal(status, 0, stderr);
    assert.match(
      stdout,
      new RegExp(`^${reference}:latest  [0-9a-f]{12}  linux/\\S+  2 layers, \\S+ \\S+ compressed\\n$`),
    );
    assert.match(stderr, /resolved to sha256:/);
    assert.match(stderr, /2 layers, 2 to fetch/);
    assert.equal(stderr.match(/^layer [0-9a-f]{12}: .* fetched/gm)?.length, 2);
    assert.doesNotMatch(stderr, /\u001b/, 'no control sequences where there is no terminal');
  });

  test('recover mounts what was unmounted again, and destroys only where it is told to', {
    skip: notRoot,
  }, async () => {
    const [one, two] = [
      await home.ok('provision', reference, '--id', 'one'),
      await home.ok('provision', reference, '--id', 'two'),
    ];
    unmountTree(one);
    assert.ok(!existsSync(join(one, 'etc/motd')));
    assert.deepEqual(await json('recover'), { kept: ['one', 'two'], destroyed: [] });
    assert.ok(existsSync(join(one, 'etc/motd')));
    assert.equal((await home.run(['recover', 'one'])).status, 2);
    assert.deepEqual(await json('recover', '--destroy-unknown', 'one'), { kept: ['one'], destroyed: ['two'] });
    assert.ok(!existsSync(two));
    assert.deepEqual(await json('recover', '--destroy-unknown'), { kept: [], destroyed: ['one'] });
  });

  test('pull with --json answers digests and layer paths, and says nothing else', async () => {
    const { status, stdout, stderr } = await home.run(['pull', reference, '--json']);
    assert.equal(status, 0, stderr);
    assert.equal(stderr, '');
    const pulled = JSON.parse(stdout);
    assert.equal(pulled.reference, `${reference}:latest`);
    assert.match(pulled.imageId, /^sha256:[0-9a-f]{64}$/);
    assert.equal(pulled.layers.length, 2);
    for (const { path } of pulled.layers) assert.ok(existsSync(join(path, 'layer.tar')), path);
  });

  test('pull of several images answers each, and --refresh asks again', async () => {
    source.publish('library/other', [sampleLayer('other')]);
    assert.equal((await home.ok('pull', reference, source.reference('library/other'))).split('\n').length, 2);
    const asked = source.requests('manifest').length;
    await home.ok('pull', reference);
    assert.equal(source.requests('manifest').length, asked);
    await home.ok('pull', '--refresh', reference);
    assert.ok(source.requests('manifest').length > asked);
  });

  test('images lists what is here', async () => {
    assert.equal(await home.ok('images'), 'no images');
    assert.deepEqual(await json('images'), []);
    await home.ok('pull', reference);
    assert.match(await home.ok('images'), /^IMAGE .*CONTAINERS\n.*library\/demo .* 2 .* just now/);
    const [image] = await json('images');
    assert.equal(image.reference, `${reference}:latest`);
    assert.deepEqual(image.containers, []);
  });

  test('inspect shows layers and how to run it', async () => {
    const shown = JSON.parse(await home.ok('inspect', reference));
    assert.deepEqual(shown, await json('inspect', reference));
    assert.equal(shown.layers.length, 2);
    assert.deepEqual(shown.runtime.env, ['A=b']);
    assert.deepEqual(shown.runtime.cmd, ['/bin/x']);
  });

  test('ls lists a directory, all of it, or one file, short and long', async () => {
    assert.deepEqual((await home.ok('ls', reference)).split('\n'), ['base', 'base.noise', 'etc', 'link']);
    assert.equal(await home.ok('ls', reference, '/etc'), 'motd');
    assert.ok((await home.ok('ls', '-R', reference)).split('\n').some((line) => line.endsWith('etc/motd')));
    const long = await home.ok('ls', '-l', reference, '/etc');
    assert.match(long, /^-rwsr-xr-x +1 3:4 +6 2001-09-09 01:46 motd$/);
    assert.match(await home.ok('ls', '--long', reference), /^lrwxrwxrwx .* link -> etc\/motd$/m);
    const [entry] = await json('ls', reference, '/etc');
    assert.equal(entry.path, 'motd');
    assert.equal(entry.size, 6);
  });

  test('cat gives the bytes, through symlinks too, and base64 with --json', async () => {
    assert.equal((await home.run(['cat', reference, '/etc/motd'])).stdout, 'hello\n');
    assert.equal((await home.run(['cat', reference, 'link'])).stdout, 'hello\n');
    assert.equal(Buffer.from((await json('cat', reference, '/etc/motd')).base64, 'base64').toString(), 'hello\n');
  });

  test('provision prints the path, containers lists it, destroy takes it down', async () => {
    assert.equal(await home.ok('containers'), 'no containers');
    const rootfs = await home.ok('provision', reference, '--id', 'c1', '--backend', 'copy');
    assert.ok(existsSync(join(rootfs, 'etc/motd')));
    assert.match(await home.ok('containers'), new RegExp(`c1 .*library/demo .*copy .*${rootfs}`));
    assert.deepEqual((await json('images'))[0].containers, ['c1']);
    assert.equal((await json('containers'))[0].container, 'c1');
    const second = await json('provision', reference, '--id', 'c2', '--backend', 'copy');
    assert.equal(second.container, 'c2');
    assert.deepEqual(await json('destroy', 'c1', 'c2'), { destroyed: ['c1', 'c2'] });
    assert.ok(!existsSync(rootfs));
  });

  test('provision takes other images as volumes and prints a line for each; nested containers go with their parent', async () => {
    const options = [
      '--id',
      'a/b',
      '--backend',
      'copy',
      '--volume',
      `one=${reference}`,
      '--volume',
      `two=${reference},rw`,
    ];
    const lines = (await home.ok('provision', reference, ...options)).split('\n');
    assert.deepEqual(
      lines.map((line) => line.split(' ').length),
      [1, 2, 2],
    );
    for (const line of lines) assert.ok(existsSync(join(line.split(' ').at(-1) ?? '', 'etc/motd')), line);
    assert.match(await home.ok('containers'), /a\/b one .*\n.*a\/b two /);
    for (const text of ['x', '=x', 'x=']) {
      const refused = await home.run(['provision', reference, '--id', 'c', '--volume', text]);
      assert.equal(refused.status, 2, text);
    }
    await home.ok('destroy', 'a');
    assert.equal(await home.ok('containers'), 'no containers');
  });

  test('remove and prune say what went, a dry run what would go', async () => {
    source.publish('library/other', [sampleLayer('other')]);
    const other = source.reference('library/other');
    await home.ok('pull', reference, other);
    assert.match(await home.ok('remove', other), /^removed 1 image, 1 layer, freeing /);
    assert.match(await home.ok('prune', '--dry-run'), /would remove 1 image, 2 layers/);
    assert.match(await home.ok('prune', '--exclude', reference), /removed 0 images, 0 layers/);
    const report = await json('prune');
    assert.equal(report.images.length, 1);
    assert.equal(report.layers.length, 2);
    assert.ok(report.bytes > 10_000);
  });

  test('check says that the store is clean, shallow and deep', async () => {
    await home.ok('pull', reference);
    assert.equal(await home.ok('check'), 'clean');
    assert.deepEqual(await json('check', '--deep'), { clean: true, sound: true, findings: [] });
  });

  test('info tells of the store and of this machine', async () => {
    await home.ok('pull', reference);
    assert.match(await home.ok('info'), /images +1\nlayers +2, [\s\S]*copy +usable/);
    const facts = await json('info');
    assert.equal(facts.root, home.root);
    assert.deepEqual(
      facts.backends.map(({ name }: { name: string }) => name),
      ['erofs', 'overlay', 'copy', 'bind'],
    );
  });

  test('--help and --version need no store', async () => {
    assert.match(await home.ok('--help'), /Commands:[\s\S]*pull[\s\S]*destroy/);
    assert.match(await home.ok('pull', '--help'), /--refresh/);
    assert.match(await home.ok('--version'), /^\d+\.\d+\.\d+/);
    assert.ok(!existsSync(home.root));
  });
});
