/** The conformance suite must notice each broken promise: provisioners that break one, and the cases that should. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { LarderError } from '../../src/errors.js';
import { provisionerConformance } from '../../src/testing/conformance/provisioner.js';
import type { Provisioning } from '../../src/testing/conformance/provisioner-fixture.js';
import { failuresOf } from '../helpers/fails.js';
import { provisionerFixture } from '../helpers/provisioner.js';

type Change = (real: Provisioning) => Partial<Provisioning>;

const mutants: Record<string, readonly [RegExp, Change]> = {
  'says true to every destroy': [
    /destroying twice/,
    (real) => ({ destroy: async (id) => (await real.destroy(id)) || true }),
  ],
  'says false to every destroy': [
    /destroying twice/,
    (real) => ({ destroy: async (id) => (await real.destroy(id)) && false }),
  ],
  'destroys nothing': [/becomes a root/, () => ({ destroy: async () => true })],
  'does not wait for a provision': [
    /destroy waits/,
    (real) => ({
      destroy: async (id, options) =>
        (await real.list()).some(({ container }) => container === id) && real.destroy(id, options),
    }),
  ],
  'replaces a container of the same name': [
    /a name that is in use/,
    (real) => ({
      provision: async (id, ...rest) => {
        await real.destroy(id);
        return real.provision(id, ...rest);
      },
    }),
  ],
  'leaves something of a failed provision': [
    /image is not there/,
    (real) => ({
      provision: (id, image, request) =>
        real.provision(id, image, request).catch(async (error: unknown) => {
          if (id === 'c' && (await real.list()).length === 0)
            await real
              .provision('left', { type: 'docker', name: image.name.replace('nowhere', 'image') }, request)
              .catch(() => {});
          throw new LarderError('LARDER_INTERNAL', 'it failed', { cause: error });
        }),
    }),
  ],
  'recovers the known': [/recover destroys/, (real) => ({ recover: (_, options) => real.recover([], options) })],
  'recovers nothing': [/recover destroys/, () => ({ recover: async () => {} })],
  'recovers what belongs to others': [
    /recover destroys/,
    (real) => ({
      recover: async (known) => {
        for (const { container } of await real.list()) if (!known.includes(container)) await real.destroy(container);
      },
    }),
  ],
  'prunes what is excluded': [
    /keeps the excluded/,
    (real) => ({ pruneImages: (_, request) => real.pruneImages([], request) }),
  ],
  'prunes layers of containers': [
    /prune never takes/,
    (real) => ({
      pruneImages: async (excluded, request) => {
        await real.pruneImages(excluded, request);
        for (const { images } of await real.list()) rmSync(`${images[0]?.rootfs}/image`);
      },
    }),
  ],
  'prunes nothing': [/prune never takes/, () => ({ pruneImages: async () => {} })],
  'lists nothing': [/becomes a root/, () => ({ list: () => [] })],
  'lets anything be a name': [
    /names that are none/,
    (real) => ({ destroy: async (id, options) => /^[a-z]+$/.test(id) && real.destroy(id, options) }),
  ],
  'ignores cancellation': [
    /is cancelled leaves nothing/,
    (real) => ({ provision: (id, image, { signal: _, ...request } = {}) => real.provision(id, image, request) }),
  ],
};

for (const [what, [cases, change]] of Object.entries(mutants)) {
  test(`the suite refuses a provisioner that ${what}`, async () => {
    const create = () => provisionerFixture('copy', (real) => broken(real, change(real)));
    const failures = await failuresOf((register) => provisionerConformance('mutant', create, register), cases);
    assert.ok(failures.length > 0);
  });
}

test('the suite finds nothing wrong with a provisioner that is only wrapped', async () => {
  const create = () => provisionerFixture('copy', (real) => broken(real, {}));
  const some = /destroying twice|becomes a root|destroy waits|in use is refused|recover destroys|prune never takes/;
  assert.deepEqual(await failuresOf((register) => provisionerConformance('wrapped', create, register), some), []);
});

function broken(real: Provisioning, changes: Partial<Provisioning>): Provisioning {
  return {
    provision: (...args) => real.provision(...args),
    destroy: (...args) => real.destroy(...args),
    recover: (...args) => real.recover(...args),
    list: () => real.list(),
    claimOf: (id) => real.claimOf(id),
    pruneImages: (...args) => real.pruneImages(...args),
    ...changes,
  };
}
