/** One store in two mount namespaces and two process id namespaces at a time: nothing that one sees is all there is. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, needsRoot, removeDirectory } from '../helpers/temporary.js';
import { Resident } from './resident-client.js';

const BACKENDS = ['erofs', 'overlay', 'copy', 'bind'] as const;
const MARKER = Buffer.from('what every container shows\n');
const SHA256 = createHash('sha256').update(MARKER).digest('hex');

describe('processes of different mount and process id namespaces that share a store', { skip: needsRoot }, () => {
  let source: ImageSource;
  let directory: string;
  let root: string;
  let reference: string;
  let here: Resident;
  let there: Resident;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('image');
    source.publish('image', [tar([dir('.'), file('marker', MARKER), dir('d')])]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(async () => {
    directory = makeDirectory();
    root = join(directory, 'store');
    [here, there] = [await Resident.start(root), await Resident.start(root)];
  });
  afterEach(async () => {
    for (const each of [here, there]) await each[Symbol.asyncDispose]();
    assert.deepEqual(mountsUnder(root), []);
    removeDirectory(directory);
  });

  const provisionAll = async (): Promise<void> => {
    for (const backend of BACKENDS) await here.result({ what: 'provision', reference, id: backend, backend });
  };
  const looks = async (who: Resident): Promise<unknown[]> => {
    const seen: unknown[] = [];
    for (const id of BACKENDS) seen.push(await who.result({ what: 'look', id }));
    return seen;
  };
  const right = BACKENDS.map(() => SHA256);
  const namesIn = (part: string): string[] =>
    existsSync(join(root, part)) ? readdirSync(join(root, part)).filter((name) => !name.startsWith('.')) : [];

  test('take nothing away from each other’s containers and images: a prune of all, a check, a recover', async () => {
    await provisionAll();
    await here.result({ what: 'hold', reference });
    assert.deepEqual(await there.result({ what: 'mounts' }), 0);
    await there.result({ what: 'prune' });
    assert.deepEqual(await there.result({ what: 'check' }), []);
    const { warnings } = await there.ask({ what: 'recover', known: BACKENDS });
    // What is mounted there with a layer of its own to write to, nobody else can mount; and that is said.
    assert.deepEqual(warnings.map((text) => /container (\w+) is kept/.exec(text)?.[1]).sort(), ['erofs', 'overlay']);
    for (const text of warnings) assert.match(text, /EBUSY/);
    await there.result({ what: 'prune' });
    assert.deepEqual(await looks(here), right);
    assert.equal(await here.result({ what: 'held' }), SHA256);
    assert.equal(await there.result({ what: 'look', id: 'copy' }), SHA256);
    assert.equal(await there.result({ what: 'look', id: 'bind' }), SHA256);
    for (const id of BACKENDS) assert.equal(await here.result({ what: 'destroy', id }), true);
  });

  test('destroy each other’s containers, and nothing is left in either', async () => {
    await provisionAll();
    for (const id of BACKENDS) assert.equal(await there.result({ what: 'destroy', id }), true);
    for (const each of [here, there]) {
      assert.deepEqual(await each.result({ what: 'claims' }), []);
      await each.result({ what: 'prune' });
      assert.deepEqual(await each.result({ what: 'check' }), []);
      assert.equal(await each.result({ what: 'mounts' }), 0);
    }
    for (const part of ['containers', 'mounts', 'layers/sha256', 'gc', 'staging'])
      assert.deepEqual(namesIn(part), [], part);
  });

  test('go on with the containers of one that was killed with its namespaces, and with what was written in them', async () => {
    await provisionAll();
    await here.result({ what: 'write', id: 'erofs' });
    await here.kill();
    // The kernel takes down what was mounted in a namespace some time after its last process has ended.
    await until(
      async () => (await there.ask({ what: 'recover', known: BACKENDS })).warnings.length === 0,
      'nobody else has them mounted',
    );
    assert.deepEqual(await looks(there), right);
    assert.equal(await there.result({ what: 'look-written', id: 'erofs' }), 'erofs');
    here = await Resident.start(root);
    for (const id of BACKENDS) assert.equal(await here.result({ what: 'destroy', id }), true);
    assert.equal(await there.result({ what: 'mounts' }), 0);
  });
});
