/** The composition of stores: one for each image type, over the same layers, documents and database. */
import { makePuller, type PullerParts } from './assemble-pullers.js';
import type { Working } from './assemble-working.js';
import type { ContentStore } from './content/content-store.js';
import type { Layout } from './layout.js';
import type { StoreLock } from './linux/store-lock.js';
import type { History } from './metadata/history.js';
import type { Layers } from './metadata/layers.js';
import type { MetadataManager } from './metadata/metadata-manager.js';
import type { DiffId } from './spec/digest.js';
import type { AciSource } from './store/appc/aci-source.js';
import type { AppcStore } from './store/appc/appc-store.js';
import type { DockerStore } from './store/docker/docker-store.js';
import type { LayerLimits } from './tar/entry.js';

export interface StoreParts extends PullerParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly content: ContentStore;
  readonly history: History;
  readonly layerRecords: Layers;
  readonly limits: LayerLimits;
  /** A proven tar took the place of these layers' damaged ones. */
  readonly onReplaced: (diffIds: readonly DiffId[]) => Promise<void>;
}

export async function makeDocker(
  parts: StoreParts,
  metadata: MetadataManager,
  { leases, layers, merged, pulls, retention }: Working,
): Promise<DockerStore> {
  const { DockerStore } = await import('./store/docker/docker-store.js');
  return new DockerStore({
    ...shared(parts),
    ...{ metadata, leases, layers, merged, pulls, retention },
    puller: await makePuller(parts, layers),
    credentialsOf: (image) => parts.logins.of(image),
  });
}

export async function makeAppc(
  parts: StoreParts,
  metadata: MetadataManager,
  { leases, layers, merged, pulls, appcRetention }: Working,
): Promise<AppcStore> {
  const { AppcStore } = await import('./store/appc/appc-store.js');
  return new AppcStore({
    ...shared(parts),
    ...{ metadata, leases, layers, merged, pulls, retention: appcRetention },
    source: await makeSource(parts),
  });
}

function shared({ config, layout, lock, content, history, layerRecords, limits, pool, onReplaced }: StoreParts) {
  const {
    platform,
    dockerIgnoreRuntime: ignoreRuntime,
    maxParallelLayers,
    maxParallelRanges,
    reservedDiskBytes,
    keepBlobs,
  } = config;
  return {
    ...{
      layout,
      lock,
      content,
      history,
      layerRecords,
      limits,
      pool,
      onReplaced,
      platform,
      ignoreRuntime,
      maxParallelLayers,
      maxParallelRanges,
    },
    reservedDiskBytes,
    keepBlobs,
    usesMergedImage: (backend: string) => backend === 'erofs' || backend === 'bind',
  };
}

async function makeSource({ config, network }: PullerParts): Promise<AciSource> {
  if (config.offline && !/^(?:\/|file:)/i.test(config.appcSimpleDiscoveryUriPrefix ?? '')) {
    return new (await import('./store/appc/offline-source.js')).OfflineSource();
  }
  const [{ AciFetcher }, { proxiesOf }] = await Promise.all([
    import('./registry/appc-fetch.js'),
    import('./registry/hosts/proxy.js'),
  ]);
  const { appcSimpleDiscoveryUriPrefix: simplePrefix, hadoopHome } = config;
  return new AciFetcher({
    ...(simplePrefix === undefined ? {} : { simplePrefix }),
    ...(hadoopHome === undefined ? {} : { hadoopHome }),
    trust: config.appcTrust,
    insecureRegistries: config.insecureRegistries,
    caFiles: config.registryCaFiles,
    proxyFor: proxiesOf(process.env),
    timeouts: { stallMs: config.stallTimeoutMs, lowSpeedBytes: config.lowSpeedLimit },
    network: await network.get(),
    maxAciBytes: config.maxLayerBytes,
  });
}
