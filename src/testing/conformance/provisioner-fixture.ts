/** What the provisioner's suite needs of a provisioner, and the words that its cases share. */
import assert from 'node:assert/strict';
import type { BackendName } from '../../backends/backend.js';
import type { Finding } from '../../check.js';
import type { ClaimRecord } from '../../metadata/records.js';
import type { Provisioner, ProvisionInfo, ProvisionRequest, VolumeRequest } from '../../provisioner.js';
import type { Image } from '../../spec/image.js';
import type { ImageSource } from '../image-source.js';
import type { StoreProcess } from './store-fixture.js';

/** What a provisioner is to its callers, behind a socket or not. */
export interface Provisioning extends Pick<Provisioner, 'provision' | 'destroy' | 'recover' | 'pruneImages'> {
  /** Left out where a container without an image of its own cannot be asked for. */
  provisionVolumes?: Provisioner['provisionVolumes'];
  list(): readonly ClaimRecord[] | Promise<readonly ClaimRecord[]>;
  claimOf(id: string): ClaimRecord | Promise<ClaimRecord>;
}

export interface ContainerState {
  /** Names under `containers/`, without locks. */
  readonly directories: readonly string[];
  /** Mount points of root filesystems. */
  readonly mounts: readonly string[];
  /** Mount points that containers share. */
  readonly imageMounts: readonly string[];
}

export interface ContainerJob {
  /** `cycle`: provision and destroy, so many times. `destroy` provisions first and says that it is ready after that. */
  readonly what: 'provision' | 'destroy' | 'cycle';
  readonly id: string;
  readonly image: Image;
  readonly backend: BackendName;
  readonly rounds?: number;
  readonly volumes?: readonly VolumeRequest[];
}

export interface ContainerProcess extends StoreProcess {
  /** Resolves when the work itself begins, or when the process has ended before that. */
  readonly ready: Promise<void>;
}

export interface ProvisionerFixture {
  readonly provisioner: Provisioning;
  readonly source: ImageSource;
  /** The backend that every case asks for. */
  readonly backend: BackendName;
  /** Its containers share a mount of their image. */
  readonly sharesMounts: boolean;
  image(name: string, options?: { readonly cached?: boolean }): Image;
  /** Makes sure that `image` is published: one layer with one file of this name, and one layer below. */
  publish(): void;
  /** Another provisioner over the same directory; of another owner when it is given. */
  open(owner?: string): Promise<Provisioning>;
  /** Forgets one image. */
  remove(image: Image): Promise<void>;
  /** Fetches `image` and damages it so that no root filesystem can be made of it, until the answered function is called. */
  breakImage(): Promise<() => Promise<void>>;
  state(): ContainerState;
  /** Nothing of the store is mounted any more, as after a reboot. Left out where nothing is mounted. */
  reboot?(): void;
  /** The job in a process of its own. */
  inProcess?(job: ContainerJob): ContainerProcess;
  findings(): Promise<readonly Finding[]>;
  dispose(): Promise<void>;
}

export type ProvisionerCase = (fixture: ProvisionerFixture) => Promise<void>;

/** A container of `image`. */
export function provisionIt(
  fixture: ProvisionerFixture,
  id: string,
  request: ProvisionRequest = {},
): Promise<ProvisionInfo> {
  fixture.publish();
  return fixture.provisioner.provision(id, fixture.image('image'), { backend: fixture.backend, ...request });
}

/** The names of all containers. */
export async function namesOf({ provisioner }: Pick<ProvisionerFixture, 'provisioner'>): Promise<string[]> {
  return (await provisioner.list()).map(({ container }) => container);
}

/** Where the container's own root filesystem is. */
export async function rootfsOf({ provisioner }: ProvisionerFixture, id: string): Promise<string> {
  const [image] = (await provisioner.claimOf(id)).images;
  return image?.rootfs ?? assert.fail(`container ${id} has no root filesystem`);
}

/** No claim, no directory, no mount. */
export async function requireNothing({ provisioner, state }: ProvisionerFixture): Promise<void> {
  assert.deepEqual(await provisioner.list(), []);
  assert.deepEqual(state(), { directories: [], mounts: [], imageMounts: [] });
}
