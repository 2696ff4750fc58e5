import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { createSecretResolver } from '../src/secrets.js';
import type { Secret, SecretResolver } from '../src/spec/image.js';
import { SecretText } from '../src/spec/secret-text.js';
import { makeDirectory, removeDirectory } from './helpers/temporary.js';

const PLANTED = 'hunter2-4f8a91';
let directory: string;

before(() => {
  directory = makeDirectory();
});
after(() => removeDirectory(directory));

function write(name: string, text: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const reference = (name: string, key?: string): Secret => ({
  type: 'reference',
  reference: { name, ...(key === undefined ? {} : { key }) },
});

/** Rejects with this code, and with the planted value nowhere in it. */
async function refuses(code: string, resolve: Promise<string>, message = /^resolve a secret: /): Promise<void> {
  await assert.rejects(resolve, (error: Error & { code: string }) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.ok(!inspect(error, { depth: 10 }).includes(PLANTED), 'the value is in the error');
    return true;
  });
}

describe('the default secret resolver', () => {
  let resolver: SecretResolver;
  before(async () => {
    resolver = await createSecretResolver();
  });
  afterEach(() => {
    delete process.env['LARDER_TEST_SECRET'];
  });

  test('answers a value as it is', async () => {
    assert.equal(await resolver.resolve({ type: 'value', value: `${PLANTED}\n` }), `${PLANTED}\n`);
  });

  test('refuses what is no secret, such as the form that Mesos has', async () => {
    const resolver = await createSecretResolver();
    for (const text of [
      `{"type": "VALUE", "value": {"data": "${PLANTED}"}}`,
      `{"value": "${PLANTED}"}`,
      `{"type": "value", "value": {"data": "${PLANTED}"}}`,
      '{"type": "reference"}',
      'null',
    ]) {
      const secret: Secret = JSON.parse(text);
      await refuses('LARDER_REQUEST_INVALID', resolver.resolve(secret));
    }
  });

  test('reads a file, without its last line end', async () => {
    const path = write('plain', `${PLANTED}\n`);
    assert.equal(await resolver.resolve(reference(`file:${path}`)), PLANTED);
    assert.equal(await resolver.resolve(reference(`file://${path}`)), PLANTED);
  });

  test('takes a key out of a JSON file: a text as it is, an object as JSON', async () => {
    const path = write('json', JSON.stringify({ a: PLANTED, b: { auths: {} }, c: 7 }));
    assert.equal(await resolver.resolve(reference(`file:${path}`, 'a')), PLANTED);
    assert.equal(await resolver.resolve(reference(`file:${path}`, 'b')), '{"auths":{}}');
    for (const key of ['c', 'd', 'toString']) {
      await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`file:${path}`, key)));
    }
    const plain = write('not-json', `{"a": "${PLANTED}`);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`file:${plain}`, 'a')));
  });

  test('refuses a file that others can write, and what is no file', async () => {
    for (const mode of [0o620, 0o602, 0o666]) {
      const path = write('open', PLANTED, mode);
      await refuses('LARDER_POLICY_DENIED', resolver.resolve(reference(`file:${path}`)), /write to it/);
    }
    mkdirSync(join(directory, 'folder'), { mode: 0o700 });
    await refuses('LARDER_POLICY_DENIED', resolver.resolve(reference(`file:${join(directory, 'folder')}`)));
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`file:${join(directory, 'gone')}`)));
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference('file:relative')));
  });

  test('refuses a file without end', async () => {
    await refuses('LARDER_POLICY_DENIED', resolver.resolve(reference('file:/dev/zero')), /not a regular file/);
    const path = write('huge', 'x'.repeat(1024 * 1024 + 1));
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`file:${path}`)), /longer than/);
  });

  test('reads a variable', async () => {
    process.env['LARDER_TEST_SECRET'] = PLANTED;
    assert.equal(await resolver.resolve(reference('env:LARDER_TEST_SECRET')), PLANTED);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference('env:LARDER_TEST_NOTHING')));
  });

  test('runs a program with the key alone, and takes what it says', async () => {
    const program = write('helper', '#!/bin/sh\nprintf "%s|%s|%s\\n" "$#" "$1" "$LARDER_TEST_SECRET"\n', 0o700);
    process.env['LARDER_TEST_SECRET'] = PLANTED;
    assert.equal(await resolver.resolve(reference(`exec:${program}`, 'a key; `id`')), '1|a key; `id`|');
    assert.equal(await resolver.resolve(reference(`exec:${program}`)), '0||');
  });

  test('does not show what a failing program says', async () => {
    const fails = write('fails', `#!/bin/sh\necho ${PLANTED}\necho ${PLANTED} >&2\nexit 3\n`, 0o700);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`exec:${fails}`)), /it ended with status 3$/);
    const silent = write('silent', '#!/bin/sh\n', 0o700);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`exec:${silent}`)), /said nothing/);
    const talks = write('talks', '#!/bin/sh\nexec head -c 3000000 /dev/zero\n', 0o700);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`exec:${talks}`)), /more than/);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`exec:${fails}`, '--option')), /option/);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference('exec:sh')), /not absolute/);
    const open = write('open-program', '#!/bin/sh\necho x\n', 0o777);
    await refuses('LARDER_POLICY_DENIED', resolver.resolve(reference(`exec:${open}`)), /write to it/);
    const plain = write('plain-file', 'x', 0o600);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(`exec:${plain}`)), /not an executable/);
  });

  test('does not repeat a name that is the secret itself', async () => {
    for (const name of [PLANTED, `https://x/${PLANTED}`, `FILE:/${PLANTED}`, '']) {
      await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference(name)), /none of file:/);
    }
  });
});

describe('a secret resolver of a module', () => {
  test('may be its default export or a function that makes it', async () => {
    const modules = {
      'object.mjs': `export default { resolve: async (secret) => 'object ' + secret.reference.name };`,
      'function.mjs': `export const createSecretResolver = async () => ({ resolve: async () => 'function' });`,
      'class.mjs': `class R { async resolve() { return 'class'; } }\nexport default () => new R();`,
    };
    const answers = [];
    for (const [name, code] of Object.entries(modules)) {
      const resolver = await createSecretResolver(write(name, code));
      answers.push(await resolver.resolve(reference('n')));
    }
    assert.deepEqual(answers, ['object n', 'function', 'class']);
  });

  test('that fails is told by the kind of its error alone', async () => {
    const path = write('throws.mjs', `export default { resolve() { throw new TypeError('${PLANTED}'); } };`);
    const resolver = await createSecretResolver(path);
    await refuses('LARDER_REQUEST_INVALID', resolver.resolve(reference('n')), /throws\.mjs failed \(TypeError\)$/);
  });

  test('that answers no text is refused', async () => {
    const path = write('number.mjs', `export default { resolve: async () => 7 };`);
    await refuses('LARDER_REQUEST_INVALID', (await createSecretResolver(path)).resolve(reference('n')));
  });

  test('is refused when it is not there, is no resolver, is a URL, or when others can write to it', async () => {
    const wrong = {
      LARDER_FLAGS_INVALID: [
        join(directory, 'none.mjs'),
        write('empty.mjs', 'export const x = 1;'),
        write('broken.mjs', 'export {'),
        'no-such-package-anywhere',
        './relative.mjs',
        'data:text/javascript,export default {}',
        'node:fs',
        '',
      ],
      LARDER_POLICY_DENIED: [write('open.mjs', 'export default { resolve: () => 1 };', 0o666)],
    };
    for (const [code, names] of Object.entries(wrong))
      for (const name of names) await assert.rejects(createSecretResolver(name), { code }, name);
  });
});

test('a secret text does not print', () => {
  const secret = { inner: [new SecretText(PLANTED)] };
  const shown = [inspect(secret, { depth: 9, showHidden: true }), JSON.stringify(secret), `${secret.inner}`];
  for (const text of shown) assert.ok(!text.includes(PLANTED), text);
  assert.equal(secret.inner[0]?.reveal(), PLANTED);
  assert.ok(!readFileSync('/proc/self/cmdline', 'utf8').includes(PLANTED));
});
