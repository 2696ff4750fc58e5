/** A store over a registry in this process, with images of both types, for tests of what goes and what stays. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Assembly } from '../../src/assemble.js';
import { configOf, parseFlags, type RawFlags } from '../../src/config.js';
import type { LarderEvent } from '../../src/events.js';
import { Larder } from '../../src/larder.js';
import { buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { findingsOf } from '../helpers/docker-store.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

export function openStore(root: string, flags: RawFlags = {}): Promise<Assembly> {
  return Assembly.open(configOf(parseFlags({ root, owner: 'suite', ...flags }, 'test')));
}

export interface PruneStore {
  readonly root: string;
  readonly directory: string;
  readonly source: ImageSource;
  readonly larder: Larder;
  readonly assembly: Assembly;
}

/** One layer with a file of its name, so large that its bytes tell it apart from documents. */
export function layerOf(name: string, bytes = 10_000): Uint8Array {
  return tar([dir('d'), file(name, Buffer.alloc(bytes, name))]);
}

export async function withStore(body: (store: PruneStore) => Promise<void>, flags: RawFlags = {}): Promise<void> {
  const directory = makeDirectory();
  const source = await ImageSource.start();
  const root = join(directory, 'store');
  const labels = { version: '1', os: 'linux', arch: 'amd64' };
  const aci = buildAci({ name: 'example.com/app', labels, files: { app: 'app' } });
  const images = join(directory, 'acis');
  mkdirSync(images);
  writeAciDirectory(images, [aci]);
  const assembly = await openStore(root, { appc_simple_discovery_uri_prefix: `${images}/`, ...flags });
  const larder = new Larder(assembly);
  try {
    await body({ root, directory, source, larder, assembly });
  } finally {
    await larder.close();
    await source[Symbol.asyncDispose]();
    removeDirectory(directory);
  }
}

/** Names of what was told to be removed. */
export async function removedBy(work: (onEvent: (event: LarderEvent) => void) => Promise<unknown>) {
  const removed: { what: string; name: string; bytes: number }[] = [];
  const warnings: string[] = [];
  await work((event) => {
    if (event.type === 'removed') removed.push({ what: event.what, name: event.name, bytes: event.bytes });
    if (event.type === 'warning') warnings.push(event.message);
  });
  return { removed, warnings, names: removed.map(({ what, name }) => `${what} ${name}`).sort() };
}

/** No fault; garbage is what the next prune takes. */
export async function faultsOf(assembly: Assembly): Promise<readonly string[]> {
  return (await findingsOf(assembly)).filter(({ kind }) => kind === 'fault').map(({ message }) => message);
}
