/**
 * ▸ Every setting of larder, in one table: what it means, how it is spelled, what it is by default.
 *
 * A setting has one name (`max_parallel_layers`; those that Mesos has keep Mesos's name) and four places, the later
 * winning: `/etc/larder/config.json`, the user's `config.json`, the variable `LARDER_MAX_PARALLEL_LAYERS`, the option
 * `--max-parallel-layers`. Reads files and the environment only when asked to ({@link loadFlags}); never exits.
 */
import { availableParallelism, homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { BackendName } from './backends/backend.js';
import type { AppcTrust, ImageGcConfig } from './config-documents.js';
import { parseValue } from './config-kinds.js';
import { COUNTERPARTS, SETTINGS, type SettingName, type ValueOf, variableName } from './config-settings.js';
import { nearestName } from './config-values.js';
import { isLarderError, LarderError, systemError } from './errors.js';
import { readPlainFile } from './linux/plain-file.js';
import type { DockerConfigSource } from './registry/credentials.js';
import type { ImageType } from './spec/image.js';
import { DEFAULT_LAYER_LIMITS } from './tar/entry.js';

export type { AppcTrust, ImageGcConfig } from './config-documents.js';
export { optionName, SETTINGS, type SettingName, variableName } from './config-settings.js';
export { nearestName, parseDurationMs } from './config-values.js';

/** Settings that were given, checked; those left out have their default. */
export type Flags = { readonly [N in SettingName]?: ValueOf<N> };

/** Settings as they come from a caller, a file, a variable or an option: not checked yet. */
export type RawFlags = { readonly [N in SettingName]?: unknown };

/** Every setting with its value, defaults filled in. */
export interface Config {
  readonly root: string;
  readonly imageProviders: readonly ImageType[];
  readonly backend: BackendName | undefined;
  readonly platform: string | undefined;
  /** A URL of a registry, or an absolute path or `hdfs://` of archives. */
  readonly dockerRegistry: string | undefined;
  readonly dockerConfig: DockerConfigSource | undefined;
  /** For a registry's `host[:port]`: token servers of other domains that may have its credentials. */
  readonly tokenHosts: Readonly<Record<string, readonly string[]>>;
  readonly dockerIgnoreRuntime: boolean;
  readonly insecureRegistries: readonly string[];
  readonly registryCaFiles: readonly string[];
  readonly registriesConf: string | undefined;
  readonly registryCertsDir: string | undefined;
  /** Of layers that their registry has not got. */
  readonly foreignLayerHosts: readonly string[];
  readonly stallTimeoutMs: number;
  /** Bytes a second. */
  readonly lowSpeedLimit: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerHost: number;
  readonly offline: boolean;
  readonly appcSimpleDiscoveryUriPrefix: string | undefined;
  readonly appcTrust: AppcTrust;
  readonly hadoopHome: string | undefined;
  readonly imageGc: ImageGcConfig | undefined;
  /** Module specifier or absolute path. */
  readonly secretResolver: string | undefined;
  /** Name or number of the group that the daemon serves. */
  readonly socketGroup: string | undefined;
  readonly grantLifetimeMs: number;
  readonly maxParallelLayers: number;
  readonly maxParallelRanges: number;
  /** Undefined: a part of the file system. */
  readonly reservedDiskBytes: number | undefined;
  /** Compressed layers stay in blobs/ when they have been uncompressed. */
  readonly keepBlobs: boolean;
  readonly maxLayerBytes: number;
  readonly maxLayerRatio: number;
  readonly maxLayerEntries: number;
  readonly owner: string;
}

/** Checks settings; unknown names and bad values are LARDER_FLAGS_INVALID, with the nearest known name. */
export function parseFlags(raw: Readonly<Record<string, unknown>>, where: string): Flags {
  const flags: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(raw)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(SETTINGS, name)) throw unknownSetting(name, where);
    flags[name] = parseValue(name as SettingName, value, where);
  }
  return flags as Flags;
}

/** The settings of both configuration files, the environment and `options`, in this order of precedence. */
export function loadFlags(options: RawFlags, env: NodeJS.ProcessEnv = process.env): Flags {
  return {
    ...fileFlags('/etc/larder/config.json'),
    ...fileFlags(userConfigPath(env)),
    ...envFlags(env),
    ...parseFlags(options, 'options'),
  };
}

/** Rejects with LARDER_FLAGS_INVALID where settings contradict each other. */
export function configOf(flags: Flags): Config {
  return {
    root: rootOf(flags),
    imageProviders: flags.image_providers ?? ['docker', 'appc'],
    backend: flags.image_provisioner_backend,
    platform: flags.platform,
    dockerRegistry: flags.docker_registry,
    dockerConfig: flags.docker_config,
    tokenHosts: tokenHostsOf(flags.token_hosts ?? []),
    dockerIgnoreRuntime: flags.docker_ignore_runtime ?? false,
    insecureRegistries: flags.insecure_registries ?? [],
    registryCaFiles: flags.registry_ca_files ?? [],
    registriesConf: flags.registries_conf,
    registryCertsDir: flags.registry_certs_dir,
    foreignLayerHosts: flags.foreign_layer_hosts ?? [],
    stallTimeoutMs: flags.fetcher_stall_timeout ?? 60_000,
    lowSpeedLimit: flags.fetcher_low_speed_limit ?? 1024,
    maxConnections: flags.max_connections ?? 24,
    maxConnectionsPerHost: flags.max_connections_per_host ?? 12,
    offline: flags.offline ?? false,
    appcSimpleDiscoveryUriPrefix: flags.appc_simple_discovery_uri_prefix,
    appcTrust: flags.appc_trust ?? { required: false, keys: {} },
    hadoopHome: flags.hadoop_home,
    imageGc: flags.image_gc_config,
    secretResolver: flags.secret_resolver,
    socketGroup: flags.socket_group,
    grantLifetimeMs: flags.grant_lifetime ?? 24 * 60 * 60_000,
    maxParallelLayers: flags.max_parallel_layers ?? Math.min(6, Math.max(2, availableParallelism())),
    maxParallelRanges: flags.max_parallel_ranges ?? 4,
    reservedDiskBytes: flags.reserved_disk_bytes,
    keepBlobs: flags.keep_blobs ?? false,
    maxLayerBytes: flags.max_layer_bytes ?? DEFAULT_LAYER_LIMITS.maxTarBytes,
    maxLayerRatio: flags.max_layer_ratio ?? DEFAULT_LAYER_LIMITS.maxRatio,
    maxLayerEntries: flags.max_layer_entries ?? DEFAULT_LAYER_LIMITS.maxEntries,
    owner: flags.owner ?? 'default',
  };
}

/** Mesos has a store for each image type; here all of them are in one, whatever it is called. */
function rootOf(flags: Flags): string {
  const names = ['root', 'docker_store_dir', 'appc_store_dir'] as const;
  const given = names.flatMap((name) => {
    const path = flags[name];
    return path === undefined ? [] : [{ name, path }];
  });
  const [first, ...others] = given;
  if (first === undefined) return defaultRoot(process.env);
  const other = others.find(({ path }) => resolve(path) !== resolve(first.path));
  if (other === undefined) return first.path;
  throw new LarderError(
    'LARDER_FLAGS_INVALID',
    `settings: ${first.name} is ${JSON.stringify(first.path)} but ${other.name} is ${JSON.stringify(other.path)}: both name the one store`,
    { hint: 'give one of them, or all the same' },
  );
}

const TOKEN_HOST = /^([a-z0-9.[\]:-]+)=([a-z0-9.[\]:-]+)$/;

function tokenHostsOf(pairs: readonly string[]): Readonly<Record<string, readonly string[]>> {
  const hosts: Record<string, readonly string[]> = Object.create(null);
  for (const pair of pairs) {
    const [, registry, host] = TOKEN_HOST.exec(pair.toLowerCase()) ?? [];
    if (registry === undefined || host === undefined) {
      throw new LarderError(
        'LARDER_FLAGS_INVALID',
        `settings: token_hosts: ${JSON.stringify(pair)}: expected REGISTRY=HOST`,
      );
    }
    hosts[registry] = [...(hosts[registry] ?? []), host];
  }
  return hosts;
}

function defaultRoot(env: NodeJS.ProcessEnv): string {
  if (process.getuid?.() === 0) return '/var/lib/larder';
  return join(absoluteOr(env['XDG_DATA_HOME'], join(homedir(), '.local', 'share')), 'larder');
}

function userConfigPath(env: NodeJS.ProcessEnv): string {
  return join(absoluteOr(env['XDG_CONFIG_HOME'], join(homedir(), '.config')), 'larder', 'config.json');
}

function absoluteOr(path: string | undefined, otherwise: string): string {
  return path?.startsWith('/') === true ? path : otherwise;
}

const MAX_CONFIG_FILE = 4 * 1024 * 1024;

function fileFlags(path: string): Flags {
  let text: string;
  try {
    const how = { doing: 'read the configuration', code: 'LARDER_FLAGS_INVALID', maxBytes: MAX_CONFIG_FILE } as const;
    text = readPlainFile(path, how).toString('utf8');
  } catch (error) {
    if (isLarderError(error) && ['ENOENT', 'ENOTDIR'].includes(String(error.details['errno']))) return {};
    throw systemError(`read the configuration ${path}`, error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's error quotes the text, which may have passwords in it.
    throw new LarderError('LARDER_FLAGS_INVALID', `read the configuration: ${path}: not JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LarderError('LARDER_FLAGS_INVALID', `read the configuration: ${path}: not a JSON object`);
  }
  return parseFlags(value as Record<string, unknown>, path);
}

function envFlags(env: NodeJS.ProcessEnv): Flags {
  const given: Record<string, unknown> = {};
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    const value = env[variableName(name)];
    if (value !== undefined && value !== '') given[name] = value;
  }
  return parseFlags(given, 'the environment');
}

function unknownSetting(name: string, where: string): LarderError {
  const known = Object.keys(SETTINGS);
  const near = nearestName(name, known);
  const counterpart = Object.hasOwn(COUNTERPARTS, name) ? COUNTERPARTS[name] : undefined;
  const shown = JSON.stringify(name.slice(0, 80));
  return new LarderError('LARDER_FLAGS_INVALID', `settings (${where}): ${shown}: no such setting`, {
    hint: counterpart ?? (near === undefined ? `known settings: ${known.join(', ')}` : `did you mean ${near}?`),
  });
}
