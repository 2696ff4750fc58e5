/** Every test of Mesos that is about images and their root filesystems, and what stands for it here. */
import { type Answer, scope, tests } from './counterparts.js';

const PULLS = 'test/mesos/docker-pulls.test.ts';
const RUNTIME = 'test/mesos/runtime.test.ts';
const SPECS = 'test/mesos/docker-specs.test.ts';
const ARCHIVE = 'test/store/docker-archive.test.ts';
const DIRECTORY = 'test/store/archive-directory.test.ts';
const PROVISIONER = 'test/provisioner/mesos-provisioner.test.ts';
const BACKENDS = 'test/backends/mesos-backends.test.ts';
const METADATA = 'test/metadata/mesos-metadata.test.ts';
const STORE = 'src/testing/conformance/store.ts';
const APPC = 'test/store/mesos-appc.test.ts';
const APPC_FETCH = 'test/registry/appc-fetch.test.ts';
const RUN = 'test/cli/run.test.ts';
const MANIFEST = 'test/spec/manifest.test.ts';
const CREDENTIALS = 'test/registry/credentials.test.ts';

const AUFS = scope('**AUFS**, devicemapper and other storage drivers that the kernel does not have.');
const SCHEMA_1 = 'test/mesos/schema1.test.ts';
const PLUGINS = scope('**Fetchers as plugins.**');
const QUOTA = scope('who limits disks gives them to a quota');

export const INVENTORY: Readonly<Record<string, Answer>> = {
  // containerizer/provisioner_docker_tests.cpp
  'ProvisionerDockerLocalStoreTest.LocalStoreTestWithTar': tests(
    ARCHIVE,
    'ProvisionerDockerLocalStoreTest.LocalStoreTestWithTar: its layers are in order, base first',
  ),
  'ProvisionerDockerLocalStoreTest.MetadataManagerInitialization': [
    ...tests(ARCHIVE, 'ProvisionerDockerLocalStoreTest.MetadataManagerInitialization'),
    ...tests(METADATA, 'MetadataManagerInitialization: a store that is made anew and recovered'),
  ],
  'ProvisionerDockerLocalStoreTest.MetadataManagerRecoveryWithEmptyImagesFile': tests(
    METADATA,
    'MetadataManagerRecoveryWithEmptyImagesFile: recovery succeeds, and the images are there (MESOS-8871)',
  ),
  'ProvisionerDockerLocalStoreTest.MissingLayer': [
    ...tests(ARCHIVE, 'ProvisionerDockerLocalStoreTest.MissingLayer'),
    ...tests(METADATA, 'MissingLayer: a layer that is lost is pulled again by the next get'),
  ],
  'ProvisionerDockerLocalStoreTest.PullingSameImageSimultaneously': [
    ...tests(STORE, 'concurrent gets of one image share one pull'),
    ...tests(STORE, 'a waiter that cancels settles at once, and the others get the image'),
    ...tests(ARCHIVE, 'is pulled once by those who ask for it at the same time'),
  ],
  'ProvisionerDockerLocalStoreTest.PullDiscarded': tests(
    STORE,
    'when all waiters cancel, the pull is cancelled, and all settle at once',
  ),
  'ProvisionerDockerTest.ROOT_ImageTarPullerSimpleCommand': [
    ...tests(ARCHIVE, 'ProvisionerDockerTest.ROOT_ImageTarPullerSimpleCommand'),
    ...tests(RUNTIME, 'DockerRuntimeIsolatorTest.ROOT_DockerDefaultCmdLocalPuller'),
  ],
  'HdfsHost/ProvisionerDockerHdfsTest.ROOT_ImageTarPullerHdfsFetcherSimpleCommand': tests(
    DIRECTORY,
    'HdfsHost/ProvisionerDockerHdfsTest.ROOT_ImageTarPullerHdfsFetcherSimpleCommand',
  ),
  'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_SimpleCommand': [
    ...tests(PULLS, 'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_SimpleCommand'),
    ...tests(RUNTIME, 'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_SimpleCommand (schema 1'),
  ],
  'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ImageForcePulling': tests(
    PULLS,
    'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ImageForcePulling',
  ),
  'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ScratchImage': tests(
    PULLS,
    'ContainerImage/ProvisionerDockerTest.ROOT_INTERNET_CURL_ScratchImage',
  ),
  'BackendFlag/ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_Whiteout': tests(
    BACKENDS,
    'ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_Whiteout',
  ),
  'BackendFlag/ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_Overwrite': tests(
    BACKENDS,
    'ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_Overwrite',
  ),
  'BackendFlag/ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_RootfsCleanup': tests(
    PROVISIONER,
    'ProvisionerDockerBackendTest.ROOT_INTERNET_CURL_DTYPE_RootfsCleanup',
  ),
  'ProvisionerDockerTest.ROOT_INTERNET_CURL_ImageDigest': tests(
    PULLS,
    'ProvisionerDockerTest.ROOT_INTERNET_CURL_ImageDigest',
  ),
  'ProvisionerDockerTest.ROOT_DockerIgnoreRuntime': tests(
    RUN,
    'needs a command of the caller where the image’s wishes are ignored, and runs it without them',
  ),
  'ProvisionerDockerTest.ROOT_INTERNET_CURL_UNPRIVILEGED_USER_CommandTaskUser': tests(
    PULLS,
    'ProvisionerDockerTest.ROOT_INTERNET_CURL_UNPRIVILEGED_USER_CommandTaskUser',
  ),
  'ProvisionerDockerTest.ROOT_RecoverNestedOnReboot': tests(
    PROVISIONER,
    'ProvisionerDockerTest.ROOT_RecoverNestedOnReboot',
  ),

  // containerizer/provisioner_appc_tests.cpp
  'AppcStoreTest.Recover': [
    ...tests(APPC, 'AppcStoreTest.Recover: a store that is opened again answers the layer'),
    ...tests('test/store/appc-upkeep.test.ts', 'recover names and forgets those that lost something'),
  ],
  'ProvisionerAppcTest.ROOT_Provision': [
    ...tests(APPC, 'ProvisionerAppcTest.ROOT_Provision: one root filesystem'),
    ...tests(PROVISIONER, 'ProvisionerAppcTest.…: one read-only root filesystem'),
  ],
  'ProvisionerAppcTest.ROOT_ProvisionNestedContainer': [
    ...tests(APPC, 'ProvisionerAppcTest.ROOT_ProvisionNestedContainer'),
    ...tests(PROVISIONER, 'ProvisionerAppcTest.…: one read-only root filesystem'),
  ],
  'ProvisionerAppcTest.Recover': [
    ...tests(APPC, 'ProvisionerAppcTest.Recover: a new provisioner keeps a known container'),
    ...tests(PROVISIONER, 'ProvisionerAppcTest.Recover: a new provisioner knows the container'),
  ],
  'ProvisionerAppcTest.RecoverNestedContainer': [
    ...tests(APPC, 'ProvisionerAppcTest.RecoverNestedContainer: parent and child'),
    ...tests(PROVISIONER, 'ProvisionerAppcTest.RecoverNestedContainer: both'),
  ],
  'ProvisionerAppcTest.RecoverNestedContainerNoParentImage': [
    ...tests(APPC, 'ProvisionerAppcTest.RecoverNestedContainerNoParentImage'),
    ...tests(PROVISIONER, 'ProvisionerAppcTest.RecoverNestedContainerNoParentImage'),
  ],
  'AppcImageFetcherTest.CURL_SimpleHttpFetch': tests(APPC, 'AppcImageFetcherTest.CURL_SimpleHttpFetch'),
  'AppcImageFetcherTest.SimpleFileFetch': tests(APPC, 'AppcImageFetcherTest.SimpleFileFetch'),
  'AppcProvisionerIntegrationTest.ROOT_SimpleLinuxImageTest': [
    ...tests(APPC, 'AppcProvisionerIntegrationTest.ROOT_SimpleLinuxImageTest'),
    ...tests(RUN, 'runs an Appc image alike'),
  ],

  // containerizer/provisioner_backend_tests.cpp
  'OverlayBackendTest.ROOT_OVERLAYFS_OverlayFSBackend': tests(
    BACKENDS,
    '…: two layers are one tree that can be written, and stay as they are',
  ),
  'OverlayBackendTest.ROOT_OVERLAYFS_OverlayFSBackendWithManyLayers': tests(
    BACKENDS,
    '…: 64 layers whose paths fill more than a page',
  ),
  'BindBackendTest.ROOT_BindBackend': tests(BACKENDS, 'BindBackendTest.ROOT_BindBackend'),
  'AufsBackendTest.ROOT_AUFS_AufsBackend': [AUFS],
  'AufsBackendTest.ROOT_AUFS_AufsBackendWithManyLayers': [AUFS],
  'CopyBackendTest.ROOT_CopyBackend': tests(
    BACKENDS,
    '…: two layers are one tree that can be written, and stay as they are',
  ),

  // containerizer/provisioner_paths_tests.cpp
  'ProvisionerPathTest.ListProvisionerContainers': tests(
    'test/spec/container-id.test.ts',
    'ProvisionerPathTest.ListProvisionerContainers',
  ),

  // containerizer/docker_spec_tests.cpp
  'DockerSpecTest.ParseImageReference': tests(SPECS, 'DockerSpecTest.ParseImageReference'),
  'DockerSpecTest.GetRegistrySpec': [
    ...tests(SPECS, 'DockerSpecTest.GetRegistrySpec'),
    ...tests('test/spec/docker-registry.test.ts', 'names a registry by its URL'),
    ...tests('test/registry/tls.test.ts', 'of a loopback registry is found out, and trusted through caFiles'),
  ],
  'DockerSpecTest.ParseDockerConfig': tests(CREDENTIALS, 'are found by the exact host, with its port'),
  'DockerSpecTest.ParseDockercfg': tests(CREDENTIALS, 'may stand in the document itself, as they did in .dockercfg'),
  'DockerSpecTest.ParseAuthUrl': tests(CREDENTIALS, 'under … are Docker Hub', 'may stand in the document itself'),
  'DockerSpecTest.ParseV1ImageManifest': tests(
    'test/spec/docker-v1.test.ts',
    'has every field that Mesos knows',
    'takes null for unset, wherever it is',
  ),
  'DockerSpecTest.ParseV2ImageManifest': tests(SCHEMA_1, 'DockerSpecTest.ParseV2ImageManifest'),
  'DockerSpecTest.ParseInvalidV2ImageManifest': tests(SCHEMA_1, 'DockerSpecTest.ParseInvalidV2ImageManifest'),
  'DockerSpecTest.ValidateV2ImageManifestFsLayersNonEmpty': tests(
    SCHEMA_1,
    'DockerSpecTest.ValidateV2ImageManifestFsLayersNonEmpty',
  ),
  'DockerSpecTest.ValidateV2ImageManifestSignaturesNonEmpty': tests(
    SCHEMA_1,
    'DockerSpecTest.ValidateV2ImageManifestSignaturesNonEmpty',
  ),
  'DockerSpecTest.ParseV2_2ImageManifest': tests(MANIFEST, 'is parsed with its layers in order'),
  'DockerSpecTest.ParseInvalidV2_2ImageManifest': tests(
    MANIFEST,
    'has no schemaVersion',
    'with the digest … (…) is refused',
    'has a Content-Type that disagrees',
  ),
  'DockerSpecTest.ValidateV2_2ImageManifestLayersNonEmpty': tests(MANIFEST, 'has no layers'),

  // containerizer/appc_spec_tests.cpp
  'AppcSpecTest.ValidateImageManifest': tests(APPC, 'AppcSpecTest.ValidateImageManifest: app'),
  'AppcSpecTest.ValidateLayout': tests(APPC, 'AppcSpecTest.ValidateLayout: without rootfs an error, with it none'),
  'AppcSpecTest.ValidateImageManifestWithNullExec': tests(APPC, 'AppcSpecTest.ValidateImageManifestWithNullExec'),

  // containerizer/oci_spec_tests.cpp
  'OCISpecTest.ParseDescriptor': tests(
    MANIFEST,
    'may embed the data that its digest says',
    'with the size … is refused',
  ),
  'OCISpecTest.ParseIndex': tests(MANIFEST, 'gives the manifest for a platform, whatever else it lists'),
  'OCISpecTest.ParseManifest': tests(
    MANIFEST,
    'is parsed with its layers in order',
    'may have a sha512 digest, zstd:chunked annotations and unknown fields',
  ),
  'OCISpecTest.ParseConfiguration': tests('test/spec/image-config.test.ts', 'of Docker is read with all that it says'),

  // uri_fetcher_tests.cpp
  'CurlFetcherPluginTest.CURL_ValidUri': tests(APPC_FETCH, 'is fetched by its simple name into a new file'),
  'CurlFetcherPluginTest.CURL_ValidUriWithOutputFileName': tests(
    APPC_FETCH,
    'is fetched by its simple name into a new file',
  ),
  'CurlFetcherPluginTest.CURL_InvalidUri': tests(APPC_FETCH, 'that does not have it is not asked twice'),
  'CurlFetcherPluginTest.CURL_InvokeFetchByName': [PLUGINS],
  'HadoopFetcherPluginTest.FetchExistingFile': tests(
    APPC_FETCH,
    'is copied by hadoop, with the port filled in, or by its path alone',
  ),
  'HadoopFetcherPluginTest.FetchNonExistingFile': tests(
    APPC_FETCH,
    'that is not there is not found, and what else hadoop says is passed on',
  ),
  'HadoopFetcherPluginTest.InvokeFetchByName': [PLUGINS],
  'DockerFetcherPluginTest.DISABLED_FetchManifest': tests(
    'test/registry/debian-registry.test.ts',
    'gives manifest, digest, config and layer',
  ),
  'DockerFetcherPluginTest.INTERNET_CURL_FetchBlob': tests(
    'test/registry/debian-registry.test.ts',
    'gives manifest, digest, config and layer',
    'gives the rest of a layer',
  ),
  'DockerFetcherPluginTest.DISABLED_FetchImage': tests(
    STORE,
    'an image that is not here is fetched, its layers base first',
  ),
  'DockerFetcherPluginTest.INTERNET_CURL_GeneratedRepositoryScope': tests(
    SPECS,
    'DockerFetcherPluginTest.INTERNET_CURL_GeneratedRepositoryScope',
  ),
  'DockerFetcherPluginTest.DISABLED_InvokeFetchByName': [PLUGINS],
  'CopyFetcherPluginTest.FetchExistingFile': tests(APPC_FETCH, 'is used where it lies, by an absolute path or file://'),
  'CopyFetcherPluginTest.FetchNonExistingFile': tests(APPC_FETCH, 'that is not there is not found'),
  'CopyFetcherPluginTest.InvokeFetchByName': [PLUGINS],

  // containerizer/mesos_containerizer_tests.cpp
  'MesosContainerizerProvisionerTest.ProvisionFailed': tests(
    PROVISIONER,
    'MesosContainerizerProvisionerTest.ProvisionFailed',
  ),
  'MesosContainerizerProvisionerTest.ROOT_INTERNET_CURL_DestroyWhileProvisioning': tests(
    PROVISIONER,
    'MesosContainerizerProvisionerTest.ROOT_INTERNET_CURL_DestroyWhileProvisioning',
  ),
  'MesosContainerizerProvisionerTest.IsolatorCleanupBeforePrepare': tests(
    PROVISIONER,
    'MesosContainerizerProvisionerTest.IsolatorCleanupBeforePrepare',
  ),

  // containerizer/volume_image_isolator_tests.cpp
  'VolumeImageIsolatorTest.ROOT_ImageInVolumeWithoutRootFilesystem': tests(
    PROVISIONER,
    'VolumeImageIsolatorTest.ROOT_ImageInVolumeWithoutRootFilesystem',
  ),
  'VolumeImageIsolatorTest.ROOT_ImageInVolumeWithRootFilesystem': [
    ...tests(PROVISIONER, 'VolumeImageIsolatorTest.ROOT_ImageInVolumeWithRootFilesystem'),
    ...tests(RUN, 'shows other images at paths of the container, read-only unless they are to be written'),
  ],
  'VolumeImageIsolatorTest.ROOT_ReadOnlyVolumeWithoutRootFilesystem': tests(
    PROVISIONER,
    'VolumeImageIsolatorTest.ROOT_ReadOnlyVolumeWithoutRootFilesystem',
  ),

  // containerizer/runtime_isolator_tests.cpp; "LocalPuller" became "ImageTarPuller" in later versions.
  'DockerArchiveTest.ROOT_CreateDockerLocalTar': [
    ...tests(RUNTIME, 'DockerArchiveTest.ROOT_CreateDockerLocalTar'),
    ...tests('test/e2e/archives.test.ts', 'podman saved, in each of its formats'),
  ],
  'DockerRuntimeIsolatorTest.ROOT_DockerDefaultCmdLocalPuller': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_DockerDefaultCmdLocalPuller',
  ),
  'DockerRuntimeIsolatorTest.ROOT_DockerDefaultEntryptLocalPuller': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_DockerDefaultEntryptLocalPuller',
  ),
  'DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_DockerDefaultCmdRegistryPuller': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_DockerDefaultCmdRegistryPuller',
  ),
  'DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_DockerDefaultEntryptRegistryPuller': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_DockerDefaultEntryptRegistryPuller',
  ),
  'DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_NestedSimpleCommand': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_INTERNET_CURL_NestedSimpleCommand',
  ),
  'DockerRuntimeIsolatorTest.ROOT_NestedDockerDefaultCmdLocalPuller': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_NestedDockerDefaultCmdLocalPuller (MESOS-6852)',
  ),
  'DockerRuntimeIsolatorTest.ROOT_NestedDockerDefaultEntryptLocalPuller': tests(
    RUNTIME,
    'DockerRuntimeIsolatorTest.ROOT_NestedDockerDefaultEntryptLocalPuller (MESOS-6852)',
  ),

  // authorization_tests.cpp
  'AuthorizationTest.PruneImages': [
    ...tests(
      'test/daemon/lifecycle.test.ts',
      'serves root and its own user, and nobody else, whatever the mode of the socket',
    ),
    ...tests('test/daemon/api.test.ts', 'prunes as a Mesos agent is asked to', 'refuses other calls to an agent'),
    scope('**Access control lists.**'),
  ],

  // containerizer/xfs_quota_tests.cpp and slave disk_quota_tests.cpp with their parameter ROOTFS
  'ROOT_XFS_QuotaTest.*(ROOTFS)': [
    ...tests(PROVISIONER, '6.11: what all writable root filesystems take is reported'),
    ...tests('src/testing/conformance/backend.ts', 'what it says takes what the container writes exists'),
    QUOTA,
  ],
  'DiskQuotaTest.*(ROOTFS)': [
    ...tests(PROVISIONER, '6.11: what all writable root filesystems take is reported'),
    ...tests(
      'src/testing/conformance/provisioner-volumes.ts',
      'what takes the writes of any of its root filesystems is reported',
    ),
    QUOTA,
  ],
};
