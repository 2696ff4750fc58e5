/**
 * ▸ What commands need of a store: the face of a store that is open here (`Larder`) and of one behind a daemon's socket
 * (`RemoteLarder`). What needs files of the store or a handle on it is not here: the store is opened for that.
 */
import type { Finding } from './check.js';
import type { LarderEvent, OperationOptions } from './events.js';
import type {
  ImageOverview,
  ImageSummary,
  PlanRequest,
  PruneImagesRequest,
  PruneReport,
  PullRequest,
  RemoveRequest,
  RollbackRequest,
  StoreInfo,
} from './larder.js';
import type { ClaimRecord, ImageRecord } from './metadata/records.js';
import type { ProvisionInfo, ProvisionRequest } from './provisioner.js';
import type { PullPlan } from './store/docker/pull-plan.js';
import type { TagEntry } from './store/docker/tag-history.js';
import type { RunningPull } from './store/pulls/running-pulls.js';
import type { ImageInfo } from './store/store.js';

/** An image that was pulled. Where the store is open here it is held until it is disposed. */
export interface PulledFacts extends AsyncDisposable {
  readonly record: ImageRecord;
  readonly info: ImageInfo;
}

export interface LarderApi extends AsyncDisposable {
  readonly root: string;
  pull(reference: string, request?: PullRequest): Promise<PulledFacts>;
  /** As `Larder.pulls`. */
  pulls(): Promise<readonly RunningPull[]>;
  /** As `Larder.attach`. */
  attach(pull: string, options?: Pick<OperationOptions, 'signal'>): AsyncIterable<LarderEvent>;
  plan(reference: string, request?: PlanRequest): Promise<PullPlan>;
  history(reference: string, request?: { readonly platform?: string }): Promise<readonly TagEntry[]>;
  rollback(reference: string, request?: RollbackRequest): Promise<PulledFacts>;
  images(): readonly ImageSummary[] | Promise<readonly ImageSummary[]>;
  overview(): readonly ImageOverview[] | Promise<readonly ImageOverview[]>;
  provision(
    reference: string,
    request: ProvisionRequest & PlanRequest & { readonly id: string },
  ): Promise<ProvisionInfo>;
  destroy(id: string, options?: OperationOptions): Promise<boolean>;
  /** Destroys this owner's containers that are not in `known`; the others are mounted again where a reboot took them. */
  recover(known: readonly string[], options?: OperationOptions): Promise<void>;
  containers(): readonly ClaimRecord[] | Promise<readonly ClaimRecord[]>;
  remove(reference: string, request?: RemoveRequest): Promise<PruneReport>;
  prune(request?: PruneImagesRequest): Promise<PruneReport>;
  check(options?: { readonly deep?: boolean } & OperationOptions): AsyncIterable<Finding>;
  info(): Promise<StoreInfo>;
  close(): Promise<void>;
}
