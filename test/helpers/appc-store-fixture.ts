/** The Appc store as the conformance suite takes it. The suite knows layers by their directories, without their views. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Assembly } from '../../src/assemble.js';
import { configOf, type Flags } from '../../src/config.js';
import { StoreLock } from '../../src/linux/store-lock.js';
import type { AppcStore } from '../../src/store/appc/appc-store.js';
import type { ImageInfo, Store } from '../../src/store/store.js';
import type { StoreFixture } from '../../src/testing/conformance/store.js';
import { AciSource } from './aci-source.js';
import { startNode } from './child.js';
import { findingsOf } from './docker-store.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const CHILD = fileURLToPath(new URL('./appc-get-child.js', import.meta.url));

export async function appcStoreFixture(): Promise<StoreFixture> {
  const directory = makeDirectory();
  const source = await AciSource.start();
  const opened: Assembly[] = [];
  const flags: Flags = {
    root: join(directory, 'store'),
    owner: 'suite',
    max_parallel_layers: 3,
    appc_simple_discovery_uri_prefix: source.prefix,
  };
  const open = async (): Promise<Assembly> => {
    const assembly = await Assembly.open(configOf(flags));
    opened.push(assembly);
    return assembly;
  };
  const assembly = await open();
  const store = withoutViews(await assembly.appc(), assembly);
  const retention = await assembly.retention('appc');
  const lock = new StoreLock(assembly.layout);
  return {
    store,
    source,
    image: (name, options) => source.image(name, options),
    prune: async (excluded, active = new Set(), options = {}) => {
      {
        using _exclusive = await lock.exclusive();
        await store.prune(excluded, active, options);
      }
      if (options.dryRun !== true) await retention.sweep(options);
    },
    open: async () => {
      const other = await open();
      return withoutViews(await other.appc(), other);
    },
    partialBytes: async () => 0,
    getInProcess: (image) => startNode(CHILD, [JSON.stringify(flags), JSON.stringify(image)]),
    publishDependent: (...how) => source.publishDependent(...how),
    findings: () => findingsOf(assembly),
    dispose: async () => {
      for (const each of opened) await each.close();
      await source[Symbol.asyncDispose]();
      removeDirectory(directory);
    },
  };
}

function withoutViews(real: AppcStore, { layout }: Assembly): Store {
  const plain = (info: ImageInfo): ImageInfo => ({ ...info, layers: info.layers.map((path) => dirname(path)) });
  return {
    recover: (options) => real.recover(options),
    plan: (image) => real.plan(image),
    get: async (...args) => plain(await real.get(...args)),
    acquire: async (...args) => {
      const { info, record, ...held } = await real.acquire(...args);
      const config = layout.blob(record.config);
      return { ...held, record, info: { ...plain(info), config } };
    },
    prune: (excluded, active, options) =>
      real.prune(excluded, new Set([...active].map((path) => join(path, 'rootfs'))), options),
  };
}
