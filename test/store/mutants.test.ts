/** The conformance suite must notice each broken promise: stores that break one, and the cases that should. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { LarderError } from '../../src/errors.js';
import type { Store } from '../../src/store/store.js';
import { storeConformance } from '../../src/testing/conformance/store.js';
import { dockerStoreFixture } from '../helpers/docker-store.js';
import { failuresOf } from '../helpers/fails.js';

type Change = (real: Store) => Partial<Store>;

const mutants: Record<string, readonly [RegExp, Change]> = {
  'answers layers top first': [
    /layers base first/,
    (real) => ({
      get: async (...args) => ({
        ...(await real.get(...args)),
        layers: [...(await real.get(...args)).layers].reverse(),
      }),
    }),
  ],
  'answers repeated layers': [
    /lists twice/,
    (real) => ({
      get: async (...args) => {
        const info = await real.get(...args);
        return { ...info, layers: [...info.layers, ...info.layers] };
      },
    }),
  ],
  'forgets the config': [
    /answers its config/,
    (real) => ({
      get: async (...args) => {
        const { config: _, ...info } = await real.get(...args);
        return info;
      },
    }),
  ],
  'asks on each hit': [
    /a hit makes/,
    (real) => ({ get: (image, ...rest) => real.get({ ...image, cached: false }, ...rest) }),
  ],
  'ignores cached: false': [
    /a moved tag/,
    (real) => ({ get: (image, ...rest) => real.get({ ...image, cached: true }, ...rest) }),
  ],
  'fetches everything again': [
    /moved tag/,
    (real) => ({
      get: async (image, ...rest) => {
        const info = await real.get(image, ...rest);
        for (const path of image.cached === false ? info.layers : []) rmSync(path, { recursive: true });
        return real.get(image, ...rest);
      },
    }),
  ],
  'lets waiters wait although they cancelled': [
    /a waiter that cancels/,
    (real) => ({ get: (image, backend, { signal: _, ...options } = {}) => real.get(image, backend, options) }),
  ],
  'goes on when all cancelled': [
    /when all waiters/,
    (real) => ({
      get: async (image, backend, options) => {
        if (options?.signal !== undefined) real.get(image, backend).catch(() => {});
        return real.get(image, backend, options);
      },
    }),
  ],
  'calls every failure internal': [
    /^mutant: a (manifest|layer) that is not there|is not a tar/,
    (real) => ({
      get: (...args) =>
        real.get(...args).catch((error: unknown) => {
          throw new LarderError('LARDER_INTERNAL', 'it failed', { cause: error });
        }),
    }),
  ],
  'prunes what is excluded': [
    /keeps the excluded/,
    (real) => ({ prune: (_, active, options) => real.prune([], active, options) }),
  ],
  'prunes active layers': [
    /keeps active/,
    (real) => ({ prune: (excluded, _, options) => real.prune(excluded, new Set(), options) }),
  ],
  'prunes nothing': [/keeps the excluded/, () => ({ prune: async () => {} })],
  'removes in a dry run': [
    /a dry run/,
    (real) => ({ prune: (excluded, active, options) => real.prune(excluded, active, { ...options, dryRun: false }) }),
  ],
  'holds nothing': [
    /what is held/,
    (real) => ({
      acquire: async (...args) => {
        const held = await real.acquire(...args);
        await held[Symbol.asyncDispose]();
        return held;
      },
    }),
  ],
  'never gives back what it held': [
    /what is held/,
    (real) => ({
      acquire: async (...args) => ({ ...(await real.acquire(...args)), [Symbol.asyncDispose]: async () => {} }),
    }),
  ],
  'does not look at the disk in recover': [/recover forgets/, () => ({ recover: async () => {} })],
};

for (const [what, [cases, change]] of Object.entries(mutants)) {
  test(`the suite refuses a store that ${what}`, async () => {
    const create = () => dockerStoreFixture((real) => broken(real, change(real)));
    const failures = await failuresOf((register) => storeConformance('mutant', create, register), cases);
    assert.ok(failures.length > 0);
  });
}

test('the suite finds nothing wrong with a store that is only wrapped', async () => {
  const create = () => dockerStoreFixture((real) => broken(real, {}));
  const some = /a hit makes|a moved tag|a waiter that|what is held|keeps the excluded|a dry run/;
  assert.deepEqual(await failuresOf((register) => storeConformance('wrapped', create, register), some), []);
});

function broken(real: Store, changes: Partial<Store>): Store {
  return {
    recover: (...args) => real.recover(...args),
    get: (...args) => real.get(...args),
    acquire: (...args) => real.acquire(...args),
    plan: (...args) => real.plan(...args),
    prune: (...args) => real.prune(...args),
    ...changes,
  };
}
