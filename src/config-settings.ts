/**
 * ▸ The table of settings: name, kind, help. Those that Mesos has keep Mesos's name. Everything that lists settings
 * (options, variables, files, help) goes through it.
 */
import { BACKEND_NAMES, type BackendName } from './backends/backend.js';
import type { AppcTrust, ImageGcConfig } from './config-documents.js';
import type { DockerConfigSource } from './registry/credentials.js';
import type { ImageType } from './spec/image.js';

/** What a setting of each kind is, once it is checked. */
interface Values {
  text: string;
  list: readonly string[];
  count: number;
  /** Milliseconds. */
  duration: number;
  bool: boolean;
  backend: BackendName;
  providers: readonly ImageType[];
  /** What a name is put behind: the beginning of a URL, or of an absolute path. */
  prefix: string;
  /** A registry's URL, or an absolute path or `hdfs://` of archives. */
  registry: string;
  /** Docker's config.json; read when a registry is first asked. */
  credentials: DockerConfigSource;
  gc: ImageGcConfig;
  trust: AppcTrust;
}

export type Kind = keyof Values;

interface Setting {
  readonly kind: Kind;
  readonly help: string;
  /** How the value is called in `--help`. */
  readonly value: string;
}

export const SETTINGS = {
  root: {
    kind: 'text',
    value: 'DIR',
    help: "the store's place (default: /var/lib/larder, or the user's data directory when not root)",
  },
  docker_store_dir: { kind: 'text', value: 'DIR', help: "Mesos's name for root: all image types share one store" },
  appc_store_dir: { kind: 'text', value: 'DIR', help: "Mesos's name for root: all image types share one store" },
  image_providers: {
    kind: 'providers',
    value: 'TYPE,…',
    help: 'image types to serve: docker, appc (default: both)',
  },
  image_provisioner_backend: {
    kind: 'backend',
    value: 'NAME',
    help: `backend to use instead of the automatic choice: ${BACKEND_NAMES.join(', ')}`,
  },
  platform: {
    kind: 'text',
    value: 'OS/ARCH[/VARIANT]',
    help: "platform to take from multi-platform images (default: this machine's)",
  },
  docker_registry: {
    kind: 'registry',
    value: 'URL|DIR',
    help: 'where images without a registry in their name come from (default: Docker Hub); a directory or hdfs:// of archives',
  },
  docker_config: {
    kind: 'credentials',
    value: 'FILE|JSON',
    help: 'Docker config.json with credentials (default: $DOCKER_CONFIG/config.json or ~/.docker/config.json)',
  },
  token_hosts: {
    kind: 'list',
    value: 'REGISTRY=HOST,…',
    help: 'token servers in another domain than their registry that may have its credentials',
  },
  docker_ignore_runtime: {
    kind: 'bool',
    value: 'BOOL',
    help: 'leave out how Docker images ask to be run',
  },
  insecure_registries: {
    kind: 'list',
    value: 'HOST[:PORT],…',
    help: 'registries that may be spoken to in plain HTTP; loopback always may',
  },
  registry_ca_files: {
    kind: 'list',
    value: 'FILE,…',
    help: "PEM files of certificate authorities trusted beside the system's",
  },
  registries_conf: {
    kind: 'text',
    value: 'PATH|none',
    help: "mirrors and rules: a registries.conf, or a directory of hosts.toml files (default: podman's, else containerd's)",
  },
  registry_certs_dir: {
    kind: 'text',
    value: 'DIR|none',
    help: "certificates by registry, as HOST[:PORT]/{*.crt,*.cert,*.key} (default: podman's and Docker's certs.d)",
  },
  foreign_layer_hosts: {
    kind: 'list',
    value: 'HOST[:PORT],…',
    help: 'where layers that their registry has not got may be fetched, over HTTPS and without a login (default: nowhere)',
  },
  fetcher_stall_timeout: {
    kind: 'duration',
    value: 'DURATION',
    help: 'give a request up when no byte arrives for this long, as 60 or 1mins (default: 1mins)',
  },
  fetcher_low_speed_limit: {
    kind: 'count',
    value: 'BYTES',
    help: 'give a request up, too, when less than this comes in a second, over 30 s of waiting for it (default: 1024)',
  },
  max_connections: {
    kind: 'count',
    value: 'N',
    help: 'connections at once to all registries; one is kept free of layers (default: 24)',
  },
  max_connections_per_host: {
    kind: 'count',
    value: 'N',
    help: 'the same to one registry or mirror (default: 12)',
  },
  offline: {
    kind: 'bool',
    value: 'BOOL',
    help: 'ask nobody over the network: only what is in the store, and archives and ACIs on this machine',
  },
  appc_simple_discovery_uri_prefix: {
    kind: 'prefix',
    value: 'PREFIX',
    help: 'what NAME-VERSION-OS-ARCH.aci is put behind: http://, https://, file://, hdfs:// or an absolute path',
  },
  appc_trust: {
    kind: 'trust',
    value: 'FILE|JSON',
    help: 'which ACIs must be signed and by whom: {"required": BOOL, "keys": {"NAME PREFIX": ["/KEY/FILE"]}}',
  },
  hadoop_home: {
    kind: 'text',
    value: 'DIR',
    help: 'where bin/hadoop is, for hdfs:// (default: $HADOOP_HOME, then $PATH)',
  },
  image_gc_config: {
    kind: 'gc',
    value: 'FILE|JSON',
    help: 'when the daemon removes images by itself: {"image_disk_headroom": 0.1, "excluded_images": […], …}',
  },
  secret_resolver: {
    kind: 'text',
    value: 'MODULE',
    help: 'module that resolves secrets, by name or absolute path (default: values, file:, env: and exec: references)',
  },
  socket: {
    kind: 'text',
    value: 'PATH|none',
    help: "the daemon's socket (default: /run/larder/larder.sock, or below $XDG_RUNTIME_DIR when not root)",
  },
  socket_group: {
    kind: 'text',
    value: 'GROUP',
    help: "whose members the daemon serves with what their own logins reach (default: only root and the daemon's user)",
  },
  grant_lifetime: {
    kind: 'duration',
    value: 'DURATION',
    help: 'how long the daemon serves a user without asking the registry again whether he may (default: 1days)',
  },
  max_parallel_layers: {
    kind: 'count',
    value: 'N',
    help: 'layers pulled at the same time, each in a thread (default: cores, at least 2, at most 6)',
  },
  max_parallel_ranges: {
    kind: 'count',
    value: 'N',
    help: 'connections for large layers, where more than one makes them faster; 1: never (default: 4)',
  },
  reserved_disk_bytes: {
    kind: 'count',
    value: 'BYTES',
    help: 'refuse a pull that would leave less of the file system free (default: a hundredth of it, at most 64 MiB)',
  },
  keep_blobs: {
    kind: 'bool',
    value: 'BOOL',
    help: 'keep compressed layers, too, until the next prune, so that `larder serve` need not fetch them again (default: false)',
  },
  max_layer_bytes: {
    kind: 'count',
    value: 'BYTES',
    help: 'refuse a layer whose uncompressed tar is larger (default: 256 GiB)',
  },
  max_layer_ratio: {
    kind: 'count',
    value: 'N',
    help: 'refuse a layer of more than 1 GiB that is more than N times as large as it was compressed (default: 1100)',
  },
  max_layer_entries: { kind: 'count', value: 'N', help: 'refuse a layer with more entries (default: 2000000)' },
  owner: {
    kind: 'text',
    value: 'NAME',
    help: 'whose containers this is: recover touches only its own (default: default)',
  },
} as const satisfies Record<string, Setting>;

/** Flags of Mesos's agent that mean something else here, and what to use. Others are refused like any unknown name. */
export const COUNTERPARTS: Readonly<Record<string, string>> = {
  work_dir: 'root is the place of the store and of its containers',
  runtime_dir: 'root is the place of the store and of its containers',
  docker_stall_timeout: 'fetcher_stall_timeout is for all that is fetched',
  curl_stall_timeout: 'fetcher_stall_timeout is for all that is fetched',
  hadoop_client: 'hadoop_home says where bin/hadoop is',
  gc_disk_headroom: 'image_gc_config has image_disk_headroom',
  disk_watch_interval: 'image_gc_config has image_disk_watch_interval',
  gc_delay: 'image_gc_config has minimum_age',
  switch_user: '`larder run --user` chooses the user of one container',
  launcher: 'larder makes root filesystems and launches nothing: leave it out',
  isolation: 'larder makes root filesystems and isolates nothing: leave it out',
  containerizers: 'larder is no containerizer: leave it out',
  sandbox_directory: 'larder mounts no sandbox: leave it out',
};

export type SettingName = keyof typeof SETTINGS;

export type ValueOf<N extends SettingName> = Values[(typeof SETTINGS)[N]['kind']];

/** `max_parallel_layers` as an option: `--max-parallel-layers`. */
export function optionName(name: SettingName): string {
  return `--${name.replaceAll('_', '-')}`;
}

/** `max_parallel_layers` as a variable: `LARDER_MAX_PARALLEL_LAYERS`. */
export function variableName(name: SettingName): string {
  return `LARDER_${name.toUpperCase()}`;
}
