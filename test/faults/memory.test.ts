/** In a process of its own, whose peak of memory is that of these pulls. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { openLarder } from '../../src/larder.js';
import { FAULT_PLACES, FaultRegistry } from '../../src/testing/fault-registry.js';
import { OtherHosts } from '../../src/testing/other-hosts.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { imageOf } from './matrix.js';

const MAX_GROWTH_KB = 64 * 1024;

test('bodies without end, and bombs, do not fill the memory', async () => {
  const directory = makeDirectory();
  const registries: FaultRegistry[] = [];
  try {
    const wrong = ['wrong-bytes', 'endless', 'encoding-bomb'] as const;
    const cases = wrong.flatMap((name) => FAULT_PLACES.map((place) => ({ name, place })));
    await using hosts = await OtherHosts.start();
    for (const i of cases.keys()) {
      const image = imageOf(String(i));
      registries.push(await FaultRegistry.start({ hosts, image, address: `127.0.1.${i + 1}` }));
    }
    await using larder = await openLarder({
      root: join(directory, 'store'),
      docker_config: { auths: Object.assign({}, ...registries.map(({ login }) => login.auths)) },
      registries_conf: 'none',
      registry_certs_dir: 'none',
    });
    let before = 0;
    for (const [i, { name, place }] of cases.entries()) {
      // The first ones are only there to have everything loaded.
      if (name === 'endless' && before === 0) before = process.resourceUsage().maxRSS;
      const registry = registries[i] ?? assert.fail();
      registry.arm(name, place);
      await assert.rejects(larder.pull(registry.reference), (error) => isLarderError(error), `${name} at ${place}`);
    }
    const grown = process.resourceUsage().maxRSS - before;
    assert.ok(grown <= MAX_GROWTH_KB, `${grown} KiB more`);
  } finally {
    for (const registry of registries) await registry[Symbol.asyncDispose]();
    removeDirectory(directory);
  }
});
