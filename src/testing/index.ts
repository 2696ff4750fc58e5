/** `larder/testing`: the suites that every implementation of a contract must pass, and the fixtures to build images with. */
export {
  type AciCompression,
  type AciDependency,
  type AciOptions,
  aciFileName,
  type BuiltAci,
  buildAci,
  writeAciDirectory,
} from './aci-builder.js';
export {
  type ArchivedImage,
  dockerArchive,
  dockerLayoutArchive,
  type OldLayer,
  ociArchive,
  oldDockerArchive,
} from './archive-builder.js';
export { type BackendFixture, backendConformance } from './conformance/backend.js';
export { contentStoreConformance } from './conformance/content-store.js';
export { layerWriterConformance } from './conformance/layer-writer.js';
export { type MetadataFixture, metadataManagerConformance } from './conformance/metadata-manager.js';
export {
  type ContainerJob,
  type ContainerProcess,
  type ContainerState,
  type ProvisionerFixture,
  provisionerConformance,
} from './conformance/provisioner.js';
export type { Register } from './conformance/register.js';
export { type StoreFixture, type StoreProcess, storeConformance } from './conformance/store.js';
export {
  type FakeImage,
  FakeRegistry,
  type FakeRegistryOptions,
  type FaultHook,
  type RegistryAuth,
  type RegistryFault,
  type RegistryRequest,
  startRegistry,
} from './fake-registry.js';
export { FAULT_PLACES, type FaultPlace, FaultRegistry, type FaultRegistryOptions } from './fault-registry.js';
export { FAULTS, type Fault, type FaultName, type FaultWorld } from './faults.js';
export {
  type BuiltImage,
  type BuiltIndex,
  type BuiltLayer,
  buildImage,
  buildIndex,
  type ImageOptions,
  type LayerSource,
  manifestsOf,
  writeOciLayout,
  zstdFrame,
} from './image-builder.js';
export {
  type ImageRequest,
  ImageSource,
  type PublishOptions,
  type RequestKind,
  type SourceFault,
  sampleLayer,
} from './image-source.js';
export {
  type HostCertificates,
  OtherHosts,
  type OtherHostsOptions,
  type ServerCertificate,
  type StorageKind,
} from './other-hosts.js';
export type { TrueAnswer } from './registry-fault.js';
export {
  type BuiltSchema1Image,
  buildSchema1Image,
  EMPTY_LAYER,
  type Schema1Document,
  type Schema1Options,
  signSchema1,
} from './schema1-builder.js';
export * as tarBuilder from './tar-builder.js';
export { type TokenRequestSeen, TokenServer, type TokenServerOptions } from './token-server.js';
export { diffListings, diffTrees, listTree, type TreeDigestOptions, type TreeLine, treeDigest } from './tree-digest.js';
