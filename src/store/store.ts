/**
 * ▸ The seed's `Store`: a read-through cache of images. `Store.create` answers one store for each image type; see
 * `assemble.ts`, which builds them.
 */
import type { OperationOptions } from '../events.js';
import type { ImageRecord } from '../metadata/records.js';
import type { Digest } from '../spec/digest.js';
import type { DockerV1Manifest } from '../spec/docker-v1.js';
import type { Image } from '../spec/image.js';
import type { RuntimeConfig } from '../spec/runtime.js';
import type { AppcMember } from './appc/appc-document.js';
import type { PullPlan } from './docker/pull-plan.js';

/** The layers of one image, and how to run it. */
export interface ImageInfo {
  /** Layer paths in topological order, dependencies first, no duplicates (I7). */
  readonly layers: readonly string[];
  /** Docker v1 image manifest. */
  readonly dockerManifest?: DockerV1Manifest;
  /** Appc image manifest. */
  readonly appcManifest?: Readonly<Record<string, unknown>>;
  /** Of an Appc image: the images whose layers these are, in the same order; the last is the one that was asked for. */
  readonly appcImages?: readonly AppcMember[];
  /** Path of the image's config (manifest v2 schema 2, OCI) as received. */
  readonly config?: string;
  /**
   * How the image asks to be run, the same for both types. Left out by `docker_ignore_runtime`, for an Appc image without
   * `app`, and where the image asks for what cannot be, which a warning tells.
   */
  readonly runtime?: RuntimeConfig;
}

/** An image that nothing removes until it is disposed: what `get` answers, with its lease and its record. */
export interface HeldImage extends AsyncDisposable {
  readonly info: ImageInfo;
  readonly record: ImageRecord;
}

/** A backend's name, or who finds it out: asked only when something has to be made for it. */
export type BackendChoice = string | (() => Promise<string>);

export interface PruneOptions extends OperationOptions {
  /** Tells what would be removed and removes nothing; needs no lock. */
  readonly dryRun?: boolean;
  /** Pinned images go, too, and what is derived and in use by no container. */
  readonly all?: boolean;
}

export interface AcquireOptions extends OperationOptions {
  /** An image that is here is answered as it is, even if the archive that it came from has changed since. */
  readonly asIs?: boolean;
  /** What the name meant once is what it is to mean here again. Only Docker images, by what their name resolved to. */
  readonly asOf?: Digest;
}

export interface Store {
  /** Brings the store's records in line with what is on disk; reports and drops images whose layers are gone. */
  recover(options?: OperationOptions): Promise<void>;

  /**
   * The image's layers in topological order, fetched when they are not here. A hit makes no request. Concurrent calls
   * for one image share one pull; each waiter's signal cancels for itself, the last one cancels the pull.
   * `backend` is prepared for: what it needs beside the layers is made now.
   */
  get(image: Image, backend: string, options?: OperationOptions): Promise<ImageInfo>;

  /** Like {@link get}, but what it answers is not pruned before it is disposed. */
  acquire(image: Image, backend: BackendChoice, options?: AcquireOptions): Promise<HeldImage>;

  /**
   * What {@link get} would fetch, from where, and what it would take of the disk; nothing is fetched but documents, and
   * nothing is written. Rejects as `get` does, and with LARDER_IMAGE_TYPE_UNSUPPORTED for an Appc image: nobody knows
   * what that consists of before it is fetched.
   */
  plan(image: Image, options?: OperationOptions): Promise<PullPlan>;

  /**
   * The mark: forgets images that are not excluded, in one short transaction (I8). Called under the provisioner's
   * exclusive lock. What that sets free goes in the sweep after it. Layers in `activeLayerPaths` stay until a prune that
   * is not told them; so do those that a lease or claim names (I5), pinned images, and images in a pull's hands.
   */
  prune(excludedImages: readonly Image[], activeLayerPaths: ReadonlySet<string>, options?: PruneOptions): Promise<void>;
}
