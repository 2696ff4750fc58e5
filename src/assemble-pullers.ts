/** The composition of pullers: where Docker images come from, by their names and by the settings. */
import type { Logins } from './assemble-credentials.js';
import type { Lazy } from './concurrency.js';
import type { Config } from './config.js';
import type { ContentStore } from './content/content-store.js';
import { LarderError } from './errors.js';
import type { OnEvent } from './events.js';
import type { LayerStore } from './layers/layer-store.js';
import type { Layout } from './layout.js';
import type { Network } from './registry/network.js';
import type { RegistryClient } from './registry/registry-client.js';
import { parseDockerRegistry } from './spec/docker-registry.js';
import type { Reference } from './spec/reference.js';
import type { OpenArchiveParts } from './store/archives/open-archive.js';
import type { ForeignSource } from './store/docker/registry-puller.js';
import type { ImageCredentials, ImagePuller, ProvingPuller, Puller } from './store/puller.js';
import type { WorkerPool } from './workers/pool.js';

export interface PullerParts {
  readonly config: Config;
  readonly logins: Logins;
  readonly pool: WorkerPool;
  readonly content: ContentStore;
  /** Of all clients of the store. */
  readonly network: Lazy<Network>;
}

/** What this store's processes know of hosts, and this one's connections. */
export async function makeNetwork(config: Config, layout: Layout): Promise<Network> {
  const { createNetwork } = await import('./registry/network.js');
  return createNetwork({ layout, max: config.maxConnections, maxPerHost: config.maxConnectionsPerHost });
}

/** Archives by their own names; references from a registry, or from the archives in a directory. */
export async function makePuller(parts: PullerParts, layers: LayerStore): Promise<ImagePuller> {
  const { AnyPuller } = await import('./store/docker/any-puller.js');
  const { maxLayerBytes: maxBytes, maxLayerRatio: maxRatio } = parts.config;
  const archives = { pool: parts.pool, stage: () => layers.stage(), maxBytes, maxRatio };
  const offline = async () =>
    new (await import('./store/docker/offline-puller.js')).OfflinePuller(parts.content, layers);
  const archivePuller = async () => new (await import('./store/archives/archive-puller.js')).ArchivePuller(archives);
  return new AnyPuller(archivePuller, (onEvent) => referencePuller(parts, archives, offline, onEvent));
}

async function referencePuller(
  parts: PullerParts,
  archives: OpenArchiveParts,
  offline: () => Promise<Puller<Reference>>,
  onEvent: OnEvent,
): Promise<Puller<Reference> | ProvingPuller<Reference>> {
  const setting = parseDockerRegistry(parts.config.dockerRegistry);
  if (setting?.kind === 'directory') {
    const { ArchiveDirectory } = await import('./store/archives/archive-directory.js');
    return new ArchiveDirectory(setting.path, archives);
  }
  if (parts.config.offline) return offline();
  if (setting?.kind === 'hdfs') return hdfsPuller(setting.url, parts, archives);
  const [{ RegistryPuller }, { keptDocuments }] = await Promise.all([
    import('./store/docker/registry-puller.js'),
    import('./store/docker/kept-documents.js'),
  ]);
  return new RegistryPuller((credentials) => makeClient(parts, onEvent, credentials), {
    defaultRegistry: setting?.host,
    foreign: await foreignLayers(parts, onEvent),
    documents: keptDocuments(parts.content),
  });
}

async function hdfsPuller(
  url: string,
  { config: { hadoopHome } }: PullerParts,
  archives: OpenArchiveParts,
): Promise<Puller<Reference>> {
  const [{ HdfsArchives }, { copyFromHdfs }] = await Promise.all([
    import('./store/archives/hdfs-archives.js'),
    import('./registry/appc-hdfs.js'),
  ]);
  const { maxBytes } = archives;
  return new HdfsArchives(url, archives, (from, path, signal) => {
    const doing = `fetch archive ${from}`;
    const tooLong = () => new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: more than ${maxBytes} bytes`);
    return copyFromHdfs(from, path, { doing, hadoopHome, maxBytes, tooLong, signal });
  });
}

async function foreignLayers({ config, network }: PullerParts, onEvent: OnEvent): Promise<ForeignSource> {
  const [{ ForeignLayers }, { DEFAULT_TIMEOUTS }, { proxiesOf }] = await Promise.all([
    import('./registry/foreign-layers.js'),
    import('./registry/registry-client.js'),
    import('./registry/hosts/proxy.js'),
  ]);
  const foreign = new ForeignLayers({
    hosts: config.foreignLayerHosts,
    caFiles: config.registryCaFiles,
    proxyFor: proxiesOf(process.env),
    stallTimeoutMs: config.stallTimeoutMs,
    lowSpeed: { bytesPerSecond: config.lowSpeedLimit, overMs: DEFAULT_TIMEOUTS.lowSpeedMs },
    network: await network.get(),
    onEvent,
  });
  return (...layer) => foreign.source(...layer);
}

/** What sets a client for others apart from the store's own. */
export interface ClientOptions {
  readonly userAgent?: string;
  /** Mirrors at these hosts are not asked. */
  readonly without?: (host: string) => boolean;
}

export async function makeClient(
  { config, logins, network }: Pick<PullerParts, 'config' | 'logins' | 'network'>,
  onEvent: OnEvent,
  own?: ImageCredentials,
  { userAgent, without = () => false }: ClientOptions = {},
): Promise<RegistryClient> {
  const [{ RegistryClient }, { HostFiles }, { proxiesOf }] = await Promise.all([
    import('./registry/registry-client.js'),
    import('./registry/hosts/host-files.js'),
    import('./registry/hosts/proxy.js'),
  ]);
  const { insecureRegistries, registryCaFiles, stallTimeoutMs, dockerRegistry, tokenHosts } = config;
  const setting = parseDockerRegistry(dockerRegistry);
  const plainHosts = setting?.kind === 'registry' && setting.plain ? [setting.host] : [];
  const files = new HostFiles({ registriesConf: config.registriesConf, certsDir: config.registryCertsDir });
  return new RegistryClient({
    ...(userAgent === undefined ? {} : { userAgent }),
    credentials: own ?? (await logins.default()),
    insecureRegistries: [...insecureRegistries, ...plainHosts],
    tokenHosts,
    caFiles: registryCaFiles,
    hosts: {
      endpointsOf: async (reference) =>
        (await files.endpointsOf(reference)).filter(({ server }) => !without(server.host)),
    },
    proxyFor: proxiesOf(process.env),
    timeouts: { stallMs: stallTimeoutMs, lowSpeedBytes: config.lowSpeedLimit },
    network: await network.get(),
    onEvent,
  });
}
