/**
 * ▸ Every setting of larder, in one table: what it means, how it is spelled, what it is by default.
 *
 * A setting has one name (`max_parallel_layers`; those that Mesos has keep Mesos's name) and four places, the later
 * winning: `/etc/larder/config.json`, the user's `config.json`, the variable `LARDER_MAX_PARALLEL_LAYERS`, the option
 * `--max-parallel-layers`. Reads files and the environment only when asked to ({@link loadFlags}); never exits.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import { BACKEND_NAMES, type BackendName } from './backends/backend.js';
import { errnoOf, LarderError, systemError } from './errors.js';
import { DEFAULT_LAYER_LIMITS } from './tar/entry.js';

type Kind = 'text' | 'list' | 'count' | 'seconds' | 'backend';

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
  docker_config: {
    kind: 'text',
    value: 'FILE',
    help: 'Docker config.json with credentials (default: $DOCKER_CONFIG/config.json or ~/.docker/config.json)',
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
  fetcher_stall_timeout: {
    kind: 'seconds',
    value: 'SECONDS',
    help: 'give a request up when no byte arrives for this long (default: 60)',
  },
  max_parallel_layers: {
    kind: 'count',
    value: 'N',
    help: 'layers pulled at the same time, each in a thread (default: cores, at least 2, at most 6)',
  },
  max_layer_bytes: {
    kind: 'count',
    value: 'BYTES',
    help: 'refuse a layer whose uncompressed tar is larger (default: 256 GiB)',
  },
  max_layer_entries: { kind: 'count', value: 'N', help: 'refuse a layer with more entries (default: 2000000)' },
  owner: {
    kind: 'text',
    value: 'NAME',
    help: 'whose containers this is: recover touches only its own (default: default)',
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;

type ValueOf<K extends Kind> = K extends 'list'
  ? readonly string[]
  : K extends 'count' | 'seconds'
    ? number
    : K extends 'backend'
      ? BackendName
      : string;

/** Settings that were given, checked; those left out have their default. */
export type Flags = { readonly [N in SettingName]?: ValueOf<(typeof SETTINGS)[N]['kind']> };

/** Settings as they come from a caller, a file, a variable or an option: not checked yet. */
export type RawFlags = { readonly [N in SettingName]?: unknown };

/** Every setting with its value, defaults filled in. */
export interface Config {
  readonly root: string;
  readonly backend: BackendName | undefined;
  readonly platform: string | undefined;
  readonly dockerConfig: string | undefined;
  readonly insecureRegistries: readonly string[];
  readonly registryCaFiles: readonly string[];
  readonly stallTimeoutMs: number;
  readonly maxParallelLayers: number;
  readonly maxLayerBytes: number;
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

export function configOf(flags: Flags): Config {
  return {
    root: flags.root ?? defaultRoot(process.env),
    backend: flags.image_provisioner_backend,
    platform: flags.platform,
    dockerConfig: flags.docker_config,
    insecureRegistries: flags.insecure_registries ?? [],
    registryCaFiles: flags.registry_ca_files ?? [],
    stallTimeoutMs: (flags.fetcher_stall_timeout ?? 60) * 1000,
    maxParallelLayers: flags.max_parallel_layers ?? Math.min(6, Math.max(2, availableParallelism())),
    maxLayerBytes: flags.max_layer_bytes ?? DEFAULT_LAYER_LIMITS.maxTarBytes,
    maxLayerEntries: flags.max_layer_entries ?? DEFAULT_LAYER_LIMITS.maxEntries,
    owner: flags.owner ?? 'default',
  };
}

/** `max_parallel_layers` as an option: `--max-parallel-layers`. */
export function optionName(name: SettingName): string {
  return `--${name.replaceAll('_', '-')}`;
}

/** `max_parallel_layers` as a variable: `LARDER_MAX_PARALLEL_LAYERS`. */
export function variableName(name: SettingName): string {
  return `LARDER_${name.toUpperCase()}`;
}

/** The known name that is nearest to a misspelled one, when one is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((k) => ({ k, d: editDistance(name.toLowerCase(), k) })).sort((a, b) => a.d - b.d);
  const best = ranked[0];
  return best !== undefined && best.d <= Math.max(2, name.length / 3) ? best.k : undefined;
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

function fileFlags(path: string): Flags {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return {};
    throw systemError(`read the configuration ${path}`, error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LarderError('LARDER_FLAGS_INVALID', `read the configuration: ${path}: not JSON`, { cause: error });
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

function parseValue(name: SettingName, value: unknown, where: string): unknown {
  const bad = (expected: string): LarderError =>
    new LarderError(
      'LARDER_FLAGS_INVALID',
      `setting ${name} (${where}): ${JSON.stringify(value)}: expected ${expected}`,
    );
  switch (SETTINGS[name].kind) {
    case 'text':
      if (typeof value !== 'string' || value === '') throw bad('a non-empty text');
      return value;
    case 'backend':
      if (!BACKEND_NAMES.some((known) => known === value)) throw bad(`one of ${BACKEND_NAMES.join(', ')}`);
      return value;
    case 'list': {
      const items = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
      if (!Array.isArray(items) || !items.every((item) => typeof item === 'string')) throw bad('a list of texts');
      return items.filter((item) => item !== '');
    }
    case 'count':
    case 'seconds': {
      const n = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
      if (typeof n !== 'number' || !Number.isSafeInteger(n) || n < 1) throw bad('a whole number above 0');
      return n;
    }
  }
}

function unknownSetting(name: string, where: string): LarderError {
  const near = nearestName(name, Object.keys(SETTINGS));
  return new LarderError('LARDER_FLAGS_INVALID', `settings (${where}): ${JSON.stringify(name)}: no such setting`, {
    hint: near === undefined ? `known settings: ${Object.keys(SETTINGS).join(', ')}` : `did you mean ${near}?`,
  });
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
