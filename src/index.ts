/** larder's public API, by name. */
import { createStores } from './assemble.js';
import type { Store as StoreContract } from './store/store.js';

export type { AssemblyOptions } from './assemble.js';
export type { Backend, BackendName, ProvisionedRootfs, ProvisionOptions } from './backends/backend.js';
export type { Diagnosis } from './backends/doctor.js';
export type { Finding } from './check.js';
export type { AppcTrust, Config, Flags, ImageGcConfig, RawFlags, SettingName } from './config.js';
export { DaemonClient } from './daemon/client.js';
export { ERROR_TABLE, type ErrorCode, type ErrorKind, isLarderError, KIND_TABLE, LarderError } from './errors.js';
export { type EventStream, eventsOf } from './event-stream.js';
export type {
  LarderEvent,
  LayerSnapshot,
  LayerState,
  LayerWaits,
  OnEvent,
  OperationOptions,
  PullFacts,
} from './events.js';
export {
  type ImageSummary,
  type Larder,
  openLarder,
  type PlanRequest,
  type PruneImagesRequest,
  type PruneReport,
  type PullRequest,
  type RemoveRequest,
  type RollbackRequest,
  type StoreInfo,
} from './larder.js';
export { type DroppedImage, MetadataManager } from './metadata/metadata-manager.js';
export type { ClaimRecord, ImageLayer, ImageRecord } from './metadata/records.js';
export {
  type Bottleneck,
  type LayerProgressState,
  NO_PROGRESS,
  nextProgress,
  type ProgressSummary,
  type PullProgress,
  summaryOf,
} from './progress.js';
export {
  Provisioner,
  type ProvisionInfo,
  type ProvisionRequest,
  type VolumeInfo,
  type VolumeRequest,
  type VolumesInfo,
} from './provisioner.js';
export type { LazyImageFs, PulledImage } from './pulled-image.js';
export type { Repair } from './repair.js';
export { type ContainerId, listWithParents, parseContainerId } from './spec/container-id.js';
export type { AppcImage, DockerImage, Image, ImageType, Secret, SecretResolver } from './spec/image.js';
export {
  type ArchiveName,
  absoluteImageName,
  formatImageName,
  type ImageName,
  isArchiveName,
  parseImageName,
} from './spec/image-name.js';
export { parseMesosImage } from './spec/mesos-image.js';
export { formatReference, parseReference, type Reference } from './spec/reference.js';
export { type CommandInfo, commandOf, type ResolvedCommand, type RuntimeConfig } from './spec/runtime.js';
export type { ExportReport } from './store/archives/export.js';
export type { PlannedLayer } from './store/docker/layer-survey.js';
export type { PlatformChoice, PullPlan } from './store/docker/pull-plan.js';
export type { PastState, TagEntry } from './store/docker/tag-history.js';
export type { ImagePuller, Puller, ResolvedImage } from './store/puller.js';
export type { RunningPull } from './store/pulls/running-pulls.js';
export type { HeldImage, ImageInfo } from './store/store.js';
export type { GcReport } from './store/upkeep/gc-collector.js';
export type { GarbageRequest, StoreUsage } from './store/upkeep/upkeep.js';
export type { WhyReport } from './store/upkeep/why.js';
export type { ImageEntry, ImageEntryType, ImageStat, WalkEntry } from './tree/image-fs.js';

export type Store = StoreContract;

/** `Store.create(flags, secretResolver)`: one store for each image type. */
export const Store = { create: createStores } as const;
