/** The docker store as the conformance suites take it, over a directory of its own and a registry in this process. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Assembly } from '../../src/assemble.js';
import type { Finding } from '../../src/check.js';
import { configOf } from '../../src/config.js';
import { StoreLock } from '../../src/linux/store-lock.js';
import type { Image } from '../../src/spec/image.js';
import type { Store } from '../../src/store/store.js';
import type { StoreFixture, StoreProcess } from '../../src/testing/conformance/store.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { startNode } from './child.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const CHILD = fileURLToPath(new URL('./get-child.js', import.meta.url));

/** `wrap` puts a broken store before the real one. */
export async function dockerStoreFixture(wrap: (store: Store) => Store = (store) => store): Promise<StoreFixture> {
  const directory = makeDirectory();
  const source = await ImageSource.start();
  const opened: Assembly[] = [];
  const root = join(directory, 'store');
  const open = async (): Promise<Assembly> => {
    const assembly = await Assembly.open(configOf({ root, owner: 'suite', max_parallel_layers: 3 }));
    opened.push(assembly);
    return assembly;
  };
  const assembly = await open();
  const store = wrap(await assembly.docker());
  const retention = await assembly.retention();
  const lock = new StoreLock(assembly.layout);
  return {
    store,
    source,
    image: (name, { tag, ...options } = {}) => ({ type: 'docker', name: referenceTo(source, name, tag), ...options }),
    prune: async (excluded, active = new Set(), options = {}) => {
      {
        using _exclusive = await lock.exclusive();
        await store.prune(excluded, active, options);
      }
      if (options.dryRun !== true) await retention.sweep(options);
    },
    open: async () => wrap(await (await open()).docker()),
    partialBytes: async () => {
      let bytes = 0;
      for await (const { size } of assembly.content.listIngests()) bytes += size;
      return bytes;
    },
    getInProcess: (image) => getInProcess(root, image),
    findings: () => findingsOf(assembly),
    dispose: async () => {
      for (const each of opened) await each.close();
      await source[Symbol.asyncDispose]();
      removeDirectory(directory);
    },
  };
}

export async function findingsOf(store: { check(): AsyncIterable<Finding> }): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for await (const finding of store.check()) findings.push(finding);
  return findings;
}

function referenceTo(source: ImageSource, name: string, tag: string | undefined): string {
  const reference = source.reference(name);
  return tag === undefined ? reference : `${reference}${tag.startsWith('@') ? '' : ':'}${tag}`;
}

function getInProcess(root: string, image: Image): StoreProcess {
  return startNode(CHILD, [root, JSON.stringify(image)]);
}
