/** Images with credentials of their own: who gets what, and where the secrets are not. */
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { type LarderEvent, openLarder, type Secret, type SecretResolver, Store } from '../../src/index.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const PASSWORD = 'planted-7c1e55d0';
const base64 = (text: string): string => Buffer.from(text).toString('base64');
/** Every form in which it could be written down. */
const PLANTED = [PASSWORD, base64(`alice:${PASSWORD}`), base64(base64(`alice:${PASSWORD}`))];

describe('an image with credentials of its own', () => {
  let source: ImageSource;
  let directory: string;
  let root: string;
  let reference: string;

  before(async () => {
    const auth = { type: 'bearer', username: 'alice', password: PASSWORD } as const;
    source = new ImageSource(await startRegistry({ auth }));
    reference = source.reference('team/private');
    source.publish('team/private', [sampleLayer('one'), sampleLayer('two', 3000)]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    directory = makeDirectory();
    root = join(directory, 'store');
  });
  afterEach(() => removeDirectory(directory));

  const flags = (more: object = {}) => ({ root, docker_config: '{"auths": {}}', ...more });
  const configFor = (password: string, host = source.registry.host): string =>
    JSON.stringify({ auths: { [host]: { auth: base64(`alice:${password}`) } } });
  const value = (password: string, host?: string): Secret => ({ type: 'value', value: configFor(password, host) });
  const byName = (name: string): Secret => ({ type: 'reference', reference: { name } });

  function write(name: string, text: string, mode = 0o600): string {
    const path = join(directory, name);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  }

  /** Files under the store that have one of the texts in them. */
  function filesWith(texts: readonly string[]): string[] {
    const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    assert.ok(files.length > 3, 'there is something to search');
    return files
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => texts.some((text) => readFileSync(path).includes(text)));
  }

  const tokens = (): string[] =>
    source.registry.requests.flatMap(({ headers }) => /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? []);

  test('is pulled with these, and not without', async () => {
    await using larder = await openLarder(flags());
    await assert.rejects(larder.pull(reference), { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
    await using image = await larder.pull(reference, { config: value(PASSWORD) });
    assert.equal(image.record.layers.length, 2);
  });

  test('leaves neither password nor token in files, events, errors and arguments', async () => {
    const seen = join(directory, 'seen');
    const program = write(
      'helper',
      `#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ > ${seen}\ncat ${write('config', configFor(PASSWORD))}\n`,
      0o700,
    );
    const events: LarderEvent[] = [];
    const errors: unknown[] = [];
    {
      await using larder = await openLarder(flags());
      const onEvent = (event: LarderEvent): void => void events.push(event);
      for (const config of [value(`${PASSWORD}x`), value(PASSWORD, 'other.example')]) {
        await larder.pull(reference, { config, onEvent }).catch((error: unknown) => errors.push(error));
      }
      const config: Secret = { type: 'reference', reference: { name: `exec:${program}`, key: 'k' } };
      await using image = await larder.pull(reference, { config, onEvent });
      assert.equal(image.record.layers.length, 2);
      const container = { type: 'docker', name: reference, config: value(PASSWORD) } as const;
      await larder.provision(container, { id: 'c1', backend: 'copy', onEvent });
      assert.deepEqual(filesWith([...PLANTED, ...tokens()]), [], 'while the store is open');
      assert.ok(!JSON.stringify(larder.containers()).includes(base64(`alice:${PASSWORD}`)));
      await larder.destroy('c1', { onEvent });
      assert.ok(!PLANTED.some((text) => inspect(larder, { depth: 9, showHidden: true }).includes(text)));
    }
    assert.equal(errors.length, 2);
    assert.ok(tokens().length > 0, 'there were tokens');
    const searched = [...PLANTED, ...tokens()];
    assert.deepEqual(filesWith(searched), []);
    assert.ok(filesWith(['team/private']).length > 0, 'the search finds what is there');
    const told = inspect([events, errors], { depth: 20, maxStringLength: null, maxArrayLength: null });
    const asJson = JSON.stringify(events);
    for (const text of searched) assert.ok(!told.includes(text) && !asJson.includes(text), 'in an event or an error');
    const ofHelper = readFileSync(seen, 'utf8');
    assert.match(ofHelper, /helper\0k\0/);
    for (const text of searched) assert.ok(!ofHelper.includes(text) && !readCommandLines().includes(text));
  });

  test('that is here is answered without its secret, and without a request', async () => {
    let asked = 0;
    const secretResolver: SecretResolver = {
      resolve: async () => {
        asked++;
        return configFor(PASSWORD);
      },
    };
    await using larder = await openLarder(flags(), { secretResolver });
    await using first = await larder.pull(reference, { config: byName('any') });
    const requests = source.registry.requests.length;
    await using second = await larder.pull(reference, { config: byName('any') });
    await using third = await larder.pull(reference);
    assert.deepEqual([second.imageId, third.imageId], [first.imageId, first.imageId]);
    assert.equal(asked, 1);
    assert.equal(source.registry.requests.length, requests);
  });

  test('gets each caller what this caller’s credentials reach, also at the same time', async () => {
    await using larder = await openLarder(flags());
    const wanted = [value(PASSWORD), value('wrong'), value(PASSWORD), undefined];
    const pulls = wanted.map((config) => larder.pull(reference, config === undefined ? {} : { config }));
    const outcomes = await Promise.allSettled(pulls);
    assert.deepEqual(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? 'pulled' : outcome.reason.code)),
      ['pulled', 'LARDER_REGISTRY_UNAUTHENTICATED', 'pulled', 'LARDER_REGISTRY_UNAUTHENTICATED'],
    );
    for (const outcome of outcomes) if (outcome.status === 'fulfilled') await outcome.value[Symbol.asyncDispose]();
  });

  test('pulled twice at once with equal credentials is asked for once', async () => {
    const before = source.requests('manifest').length;
    await using larder = await openLarder(flags());
    const pulls = [1, 2, 3].map(() => larder.pull(reference, { config: value(PASSWORD) }));
    for (const image of await Promise.all(pulls)) await image[Symbol.asyncDispose]();
    // Once refused, once answered.
    assert.equal(source.requests('manifest').length - before, 2);
  });

  test('does not lend its login to the next pull', async () => {
    await using larder = await openLarder(flags());
    {
      await using _image = await larder.pull(reference, { config: value(PASSWORD) });
    }
    await larder.remove(reference);
    await assert.rejects(larder.pull(reference), { code: 'LARDER_REGISTRY_UNAUTHENTICATED' });
    await assert.rejects(larder.pull(reference, { config: value('wrong') }), {
      code: 'LARDER_REGISTRY_UNAUTHENTICATED',
    });
  });

  test('has the default credentials for registries that it does not name', async () => {
    await using larder = await openLarder(flags({ docker_config: configFor(PASSWORD) }));
    await using image = await larder.pull(reference, { config: value('wrong', 'other.example') });
    assert.equal(image.record.layers.length, 2);
  });

  test('fails with its secret, before anything is asked of the registry', async () => {
    const requests = source.registry.requests.length;
    await using larder = await openLarder(flags());
    const gone = larder.pull(reference, { config: byName(`file:${join(directory, 'gone')}`) });
    await assert.rejects(gone, { code: 'LARDER_REQUEST_INVALID', message: /^resolve a secret: .*no such file$/ });
    const noConfig = larder.pull(reference, { config: { type: 'value', value: PASSWORD } });
    await assert.rejects(noConfig, (error: Error & { code: string }) => {
      assert.equal(error.code, 'LARDER_CONFIG_INVALID');
      return !inspect(error, { depth: 9 }).includes(PASSWORD);
    });
    assert.equal(source.registry.requests.length, requests);
  });

  test('is pulled through the resolver that Store.create is given, or that a setting names', async () => {
    const resolver: SecretResolver = { resolve: async () => configFor(PASSWORD) };
    const image = { type: 'docker', name: reference, config: byName('anything') } as const;
    const stores = await Store.create(flags(), resolver);
    const info = await stores.get('docker')?.get(image, 'copy');
    assert.equal(info?.layers.length, 2);

    const module = write(
      'resolver.mjs',
      `export default { resolve: async () => ${JSON.stringify(configFor(PASSWORD))} };`,
    );
    await using larder = await openLarder({ ...flags({ secret_resolver: module }), root: join(directory, 'other') });
    await using pulled = await larder.pull(reference, { config: byName('anything') });
    assert.equal(pulled.record.layers.length, 2);
  });
});

/** Of this process and its children, now. */
function readCommandLines(): string {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const ours = pid === String(process.pid) || status.includes(`PPid:\t${process.pid}\n`);
        return ours ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : '';
      } catch {
        // It has ended.
        return '';
      }
    })
    .join('\n');
}
