/** The provisioner as its conformance suite takes it, over a directory of its own and a registry in this process. */
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Assembly } from '../../src/assemble.js';
import type { BackendName } from '../../src/backends/backend.js';
import { configOf, type Flags } from '../../src/config.js';
import { LarderError } from '../../src/errors.js';
import { mayMount } from '../../src/linux/capabilities.js';
import { unmount } from '../../src/linux/mount.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { formatAppcRequest } from '../../src/spec/appc-name.js';
import type { Image } from '../../src/spec/image.js';
import { formatReference, parseReference } from '../../src/spec/reference.js';
import type {
  ContainerJob,
  ContainerProcess,
  ContainerState,
  ProvisionerFixture,
} from '../../src/testing/conformance/provisioner.js';
import type { Provisioning } from '../../src/testing/conformance/provisioner-fixture.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { startNode } from './child.js';
import { findingsOf } from './docker-store.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const CHILD = fileURLToPath(new URL('./provision-child.js', import.meta.url));
const SHARED: readonly BackendName[] = ['erofs', 'bind'];

export interface LocalProvisionerFixture extends ProvisionerFixture {
  /** The store's directory. */
  readonly root: string;
}

/** What the containers are made of. */
export interface ImageOrigin {
  readonly source: ImageSource;
  readonly image: ProvisionerFixture['image'];
  /** What a store needs to find them. */
  readonly flags?: Partial<Flags>;
}

function dockerImages(source: ImageSource): ImageOrigin {
  return { source, image: (name, options = {}) => ({ type: 'docker', name: source.reference(name), ...options }) };
}

/** `wrap` puts a broken provisioner before the real one. */
export async function provisionerFixture(
  backend: BackendName,
  wrap: (real: Provisioning) => Provisioning = (real) => real,
  origin?: ImageOrigin,
): Promise<LocalProvisionerFixture> {
  const { source, image, flags = {} } = origin ?? dockerImages(await ImageSource.start());
  const directory = makeDirectory();
  const root = join(directory, 'store');
  const opened: Assembly[] = [];
  const open = async (owner: string): Promise<Assembly> => {
    const assembly = await Assembly.open(configOf({ ...flags, root, owner }));
    opened.push(assembly);
    return assembly;
  };
  const assembly = await open('suite');
  const provisioner = wrap(await assembly.provisioner());
  let published = false;
  const publish = (): void => {
    if (!published) source.publish('image', [sampleLayer('below', 200_000), sampleLayer('image')]);
    published = true;
  };
  return {
    root,
    provisioner,
    source,
    backend,
    sharesMounts: SHARED.includes(backend),
    image,
    publish,
    open: async (owner = 'suite') => wrap(await (await open(owner)).provisioner()),
    remove: (which) => remove(assembly, which),
    breakImage: () => {
      publish();
      return breakImage(assembly, image('image'));
    },
    state: () => stateOf(assembly),
    ...(mayMount() ? { reboot: () => reboot(root) } : {}),
    inProcess: (job) => inProcess(root, job, flags),
    findings: () => findingsOf(assembly),
    dispose: async () => {
      for (const each of opened) await each.close();
      await source[Symbol.asyncDispose]();
      removeDirectory(directory);
    },
  };
}

async function remove(assembly: Assembly, image: Image): Promise<void> {
  const retention = await assembly.retention(image.type);
  const reference =
    image.type === 'docker'
      ? formatReference(parseReference(image.name))
      : formatAppcRequest((await assembly.appc()).requestOf(image));
  await retention.remove(reference, undefined);
  await retention.sweep();
}

/** Of the same length, so that only who reads it can know; and nothing derived from it before is there. */
async function breakImage(assembly: Assembly, image: Image): Promise<() => Promise<void>> {
  const { layers } = await (await assembly.storeOf(image.type)).get(image, 'copy');
  const tars = layers
    .map((path) => join(path.replace(/\/rootfs$/, ''), 'layer.tar'))
    .map((path) => ({ path, bytes: readFileSync(path) }));
  for (const { path, bytes } of tars) overwrite(path, Buffer.alloc(bytes.length, 1));
  rmSync(assembly.layout.derived, { recursive: true });
  await (await assembly.working()).layers.prepare();
  return async () => {
    for (const { path, bytes } of tars) overwrite(path, bytes);
  };
}

function overwrite(path: string, bytes: Uint8Array): void {
  chmodSync(path, 0o600);
  writeFileSync(path, bytes);
  chmodSync(path, 0o400);
}

function stateOf({ layout }: Assembly): ContainerState {
  const points = (path: string): string[] => mountsUnder(path).map(({ mountPoint }) => mountPoint);
  return {
    directories: readdirSync(layout.containers)
      .filter((name) => !name.endsWith('.lock'))
      .sort(),
    mounts: points(layout.containers),
    imageMounts: points(layout.mounts),
  };
}

function reboot(root: string): void {
  for (const { mountPoint } of [...mountsUnder(root)].reverse()) {
    unmount(Buffer.from(mountPoint, 'latin1'), { detach: true });
  }
}

function inProcess(root: string, job: ContainerJob, flags: Partial<Flags>): ContainerProcess {
  const child = startNode(CHILD, [root, JSON.stringify(job), JSON.stringify(flags)]);
  const ready = new Promise<void>((resolve, reject) => {
    child.process.stdout?.on('data', () => resolve());
    child.ended.then(() => resolve()).catch(reject);
  });
  if (child.process.stdout === null) throw new LarderError('LARDER_INTERNAL', 'child: no output');
  return { ...child, ready };
}
