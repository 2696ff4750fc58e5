/** What a provisioner is asked for and what it answers: plain data but for the signal and the listener. */
import type { BackendName } from '../backends/backend.js';
import { LarderError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import { type ContainerId, isName } from '../spec/container-id.js';
import type { Image } from '../spec/image.js';
import type { ImageInfo, PruneOptions } from '../store/store.js';

/** Another image in the same container, beside its own root filesystem (Mesos: an image volume). */
export interface VolumeRequest {
  /** Unique in its container; by the grammar of a container's name. */
  readonly name: string;
  readonly image: Image;
  /** Default true. */
  readonly readOnly?: boolean;
  /** Default: `bind` for what is read-only where it works here, else the container's. */
  readonly backend?: BackendName;
}

export interface ProvisionRequest extends OperationOptions {
  /** Default: the automatic choice. */
  readonly backend?: BackendName;
  /** Flags of the container's mounts, its volumes' too. `nodev` is on unless it is set to false. */
  readonly nodev?: boolean;
  readonly nosuid?: boolean;
  readonly noexec?: boolean;
  readonly volumes?: readonly VolumeRequest[];
}

export interface PruneRequest extends PruneOptions {
  /** Called when everything is marked and renamed away, before anything is deleted. */
  readonly onMarked?: () => void;
}

export interface VolumeInfo extends ImageInfo {
  readonly name: string;
  /** Where its root filesystem is. */
  readonly rootfs: string;
  /** Canonical reference of the image. */
  readonly reference: string;
  readonly backend: BackendName;
  readonly readOnly: boolean;
  /** Directories that take what is written to it; none of a read-only one. */
  readonly ephemeralVolumes: readonly string[];
}

/** A container that has no image of its own. */
export interface VolumesInfo {
  readonly container: ContainerId;
  /** In the order of the request. */
  readonly volumes: readonly VolumeInfo[];
  /** Directories that take what the container writes, to whichever root filesystem, for quota. */
  readonly ephemeralVolumes: readonly string[];
  /** What could not be kept, one sentence each. */
  readonly warnings: readonly string[];
}

export interface ProvisionInfo extends ImageInfo, VolumesInfo {
  /** Where the root filesystem is. */
  readonly rootfs: string;
  readonly backend: BackendName;
  /** Canonical reference of the image. */
  readonly reference: string;
}

/** Names are paths on disk: only those by the grammar, each once. Rejects with LARDER_REQUEST_INVALID. */
export function requireVolumes(container: ContainerId, volumes: readonly VolumeRequest[]): void {
  const seen = new Set<string>();
  for (const { name } of volumes) {
    if (!isName(name)) {
      throw new LarderError(
        'LARDER_REQUEST_INVALID',
        `provision ${container}: volume ${JSON.stringify(name.slice(0, 140))}: not a valid name`,
        { hint: 'use up to 128 letters, digits, "_", "." and "-", starting with a letter or a digit' },
      );
    }
    if (seen.has(name)) {
      throw new LarderError('LARDER_REQUEST_INVALID', `provision ${container}: volume ${name}: given twice`);
    }
    seen.add(name);
  }
}
