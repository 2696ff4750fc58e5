/** The provisioner's suite with containers of Appc images, each of which has one below it. */
import { dirname } from 'node:path';
import { test } from 'node:test';
import { provisionerConformance } from '../../src/testing/conformance/provisioner.js';
import type { Provisioning } from '../../src/testing/conformance/provisioner-fixture.js';
import { AciSource } from '../helpers/aci-source.js';
import { type LocalProvisionerFixture, provisionerFixture } from '../helpers/provisioner.js';
import { needsRoot } from '../helpers/temporary.js';

async function appcImages(): Promise<LocalProvisionerFixture> {
  const source = await AciSource.start();
  const flags = { appc_simple_discovery_uri_prefix: source.prefix };
  const image: LocalProvisionerFixture['image'] = (name, options) => source.image(name, options);
  const local = await provisionerFixture('erofs', withoutViews, { source, image, flags });
  // What an image depends on is an image of its own, which stays when that goes.
  const remove: LocalProvisionerFixture['remove'] = async (which) => {
    await local.remove(which);
    await local.provisioner.pruneImages([]);
  };
  return { ...local, remove };
}

/** The suite knows layers by their directories, without their views. */
function withoutViews(real: Provisioning): Provisioning {
  const plain = <T extends { readonly layers: readonly string[] }>(info: T): T => ({
    ...info,
    layers: info.layers.map((path) => dirname(path)),
  });
  const { provisionVolumes } = real;
  const wrapped: Provisioning = {
    provision: async (...args) => {
      const info = await real.provision(...args);
      return { ...plain(info), volumes: info.volumes.map(plain) };
    },
    destroy: (...args) => real.destroy(...args),
    recover: (...args) => real.recover(...args),
    pruneImages: (...args) => real.pruneImages(...args),
    list: () => real.list(),
    claimOf: (id) => real.claimOf(id),
  };
  if (provisionVolumes !== undefined) {
    wrapped.provisionVolumes = async (...args) => {
      const info = await provisionVolumes.apply(real, args);
      return { ...info, volumes: info.volumes.map(plain) };
    };
  }
  return wrapped;
}

provisionerConformance('the provisioner with Appc images and erofs', appcImages, (name, _, body) =>
  test(name, { skip: needsRoot }, body),
);
