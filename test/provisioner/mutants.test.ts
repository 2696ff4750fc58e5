/** The conformance suite must notice each broken promise: provisioners that break one, and the cases that should. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { LarderError } from '../../src/errors.js';
import { provisionerConformance } from '../../src/testing/conformance/provisioner.js';
import type { Provisioning } from '../../src/testing/conformance/provisioner-fixture.js';
import { failuresOf } from '../helpers/fails.js';
import { provisionerFixture } from '../helpers/provisioner.js';
import { needsRoot } from '../helpers/temporary.js';

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
    /destroy cuts|destroy waits/,
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
  'claims only the last image': [
    /both claimed/,
    (real) => ({
      provision: async (id, image, request) => {
        const info = await real.provision(id, image, request);
        // As Mesos does: what was active before is overwritten by the next image.
        for (const path of info.layers) rmSync(path, { recursive: true });
        return info;
      },
    }),
  ],
  'makes volumes that can be written': [
    /read-only unless/,
    (real) => ({
      provision: (id, image, { volumes = [], ...request } = {}) =>
        real.provision(id, image, { ...request, volumes: volumes.map((each) => ({ ...each, readOnly: false })) }),
    }),
  ],
  'forgets volumes': [
    /are volumes of it/,
    (real) => ({
      provision: (id, image, { volumes: _, ...request } = {}) => real.provision(id, image, request),
    }),
  ],
  'destroys a parent and leaves its children': [
    /destroys what is nested/,
    (real) => ({
      destroy: async (id, options) => {
        const nested = (await real.list()).some(({ container }) => container.startsWith(`${id}/`));
        return nested || real.destroy(id, options);
      },
    }),
  ],
  'takes names that begin alike for nested ones': [
    /destroys what is nested/,
    (real) => ({
      destroy: async (id, options) => {
        for (const { container } of await real.list()) {
          if (container !== id && container.startsWith(id)) await real.destroy(container, options);
        }
        return real.destroy(id, options);
      },
    }),
  ],
  'knows no parent without a claim': [
    /one only by its children/,
    (real) => ({
      destroy: async (id, options) =>
        (await real.list()).some(({ container }) => container === id) && real.destroy(id, options),
    }),
  ],
  'recovers a known child with its parent': [
    /whose parent is unknown/,
    (real) => ({
      recover: async (known, options) => {
        const unknown = (await real.list()).filter(({ container }) => !known.includes(container));
        for (const { container } of unknown) await real.destroy(container, options);
      },
    }),
  ],
  'mounts nothing again after a reboot': [
    /known are as they were|volumes are as they were/,
    (real) => ({
      recover: async (known) => {
        for (const { container } of await real.list()) if (!known.includes(container)) await real.destroy(container);
      },
    }),
  ],
  'ignores cancellation': [
    /is cancelled leaves nothing/,
    (real) => ({ provision: (id, image, { signal: _, ...request } = {}) => real.provision(id, image, request) }),
  ],
};

/** Where only what is mounted can be wrong. */
const MOUNTING = new Set(['mounts nothing again after a reboot']);

for (const [what, [cases, change]] of Object.entries(mutants)) {
  test(`the suite refuses a provisioner that ${what}`, { skip: MOUNTING.has(what) && needsRoot }, async () => {
    const backend = MOUNTING.has(what) ? 'erofs' : 'copy';
    const create = () => provisionerFixture(backend, (real) => broken(real, change(real)));
    const failures = await failuresOf((register) => provisionerConformance('mutant', create, register), cases);
    assert.ok(failures.length > 0);
  });
}

test('the suite finds nothing wrong with a provisioner that is only wrapped', async () => {
  const create = () => provisionerFixture('copy', (real) => broken(real, {}));
  const some =
    /destroying twice|becomes a root|destroy cuts|nested in it first|both claimed|in use is refused|recover destroys|prune never takes/;
  assert.deepEqual(await failuresOf((register) => provisionerConformance('wrapped', create, register), some), []);
});

function broken(real: Provisioning, changes: Partial<Provisioning>): Provisioning {
  return {
    provision: (...args) => real.provision(...args),
    ...(real.provisionVolumes === undefined ? {} : { provisionVolumes: real.provisionVolumes.bind(real) }),
    destroy: (...args) => real.destroy(...args),
    recover: (...args) => real.recover(...args),
    list: () => real.list(),
    claimOf: (id) => real.claimOf(id),
    pruneImages: (...args) => real.pruneImages(...args),
    ...changes,
  };
}
