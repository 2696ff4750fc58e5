/**
 * What the files of other tools on this host say about registries: podman's `registries.conf`, or containerd's tree of
 * `hosts.toml`, never both, since neither's rules mean what they say once the other's are mixed in; and the certificates
 * that Docker and podman keep by registry. Read when a registry is first asked, and again when that was a while ago.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { LarderError } from '../../errors.js';
import type { Reference } from '../../spec/reference.js';
import { findTrust } from './certificate-directory.js';
import { type Endpoint, type HostTrust, originOf, type RegistryHosts } from './endpoint.js';
import { isDirectory, isFile, isOpenDirectory, namesIn } from './files.js';
import { endpointsByHostsToml } from './hosts-toml.js';
import {
  EMPTY_CONF,
  endpointsByConf,
  mergeRegistriesConf,
  parseRegistriesConf,
  type RegistriesConf,
} from './registries-conf.js';
import { parseToml, readText } from './toml-file.js';

export interface HostFilesSettings {
  /** A `registries.conf`, a directory of containerd's, or `none`. Left out: what this host has. */
  readonly registriesConf: string | undefined;
  /** A directory of Docker's form, or `none`. Left out: podman's and Docker's. */
  readonly certsDir: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** Below which the host's files are; for tests. */
  readonly etc?: string;
  /** Whether the files of the user come before the host's. */
  readonly isRoot?: boolean;
}

const DOING = 'registries configuration';
/** Who edits a file under a running daemon waits this long. */
const READ_AGAIN_MS = 10_000;

type Rules =
  | { readonly kind: 'conf'; readonly conf: RegistriesConf }
  | { readonly kind: 'tree'; readonly root: string }
  | { readonly kind: 'none' };

export class HostFiles implements RegistryHosts {
  readonly #settings: HostFilesSettings;
  readonly #hasDirectory: (path: string) => boolean;
  #rules: { readonly found: Promise<Rules>; readonly readAtMs: number } | undefined;

  constructor(settings: HostFilesSettings) {
    this.#settings = settings;
    this.#hasDirectory = settings.certsDir === undefined ? isOpenDirectory : isDirectory;
  }

  async endpointsOf(reference: Reference): Promise<readonly Endpoint[]> {
    const rules = await this.#currentRules();
    const trustOf = (host: string): HostTrust => findTrust(certificateRoots(this.#settings), host, this.#hasDirectory);
    const endpoints = await endpointsBy(rules, reference);
    return endpoints.map((endpoint) => withTrust(endpoint, trustOf));
  }

  #currentRules(): Promise<Rules> {
    const nowMs = performance.now();
    if (this.#rules === undefined || nowMs - this.#rules.readAtMs > READ_AGAIN_MS) {
      const rules = { found: findRules(this.#settings), readAtMs: nowMs };
      this.#rules = rules;
      // What could not be read is read again by whoever asks next.
      rules.found.catch(() => {
        if (this.#rules === rules) this.#rules = undefined;
      });
    }
    return this.#rules.found;
  }
}

async function endpointsBy(rules: Rules, reference: Reference): Promise<readonly Endpoint[]> {
  switch (rules.kind) {
    case 'conf':
      return endpointsByConf(rules.conf, reference);
    case 'tree':
      return (await endpointsByHostsToml(rules.root, reference)) ?? [originOf(reference)];
    case 'none':
      return [originOf(reference)];
  }
}

/** `registries.conf` wins where it has a registry at all: it can forbid one, and what is forbidden must stay so. */
async function findRules(settings: HostFilesSettings): Promise<Rules> {
  const { registriesConf: given, etc = '/etc' } = settings;
  if (given === 'none') return { kind: 'none' };
  if (given !== undefined) {
    if (isDirectory(given)) return { kind: 'tree', root: given };
    if (isFile(given)) return { kind: 'conf', conf: await readConf([given], [`${given}.d`]) };
    throw new LarderError(
      'LARDER_CONFIG_INVALID',
      `registries configuration: ${given}: there is no such file or directory`,
    );
  }
  const conf = await readConf(...confPlaces(settings));
  if (conf.registries.length > 0) return { kind: 'conf', conf };
  const tree = join(etc, 'containerd', 'certs.d');
  return isOpenDirectory(tree) ? { kind: 'tree', root: tree } : { kind: 'none' };
}

/** The main file and the directories of drop-ins, as podman looks for them. */
function confPlaces(settings: HostFilesSettings): [files: readonly string[], directories: readonly string[]] {
  const { env = process.env, etc = '/etc', isRoot = process.getuid?.() === 0 } = settings;
  const system = join(etc, 'containers', 'registries.conf');
  const named = env['CONTAINERS_REGISTRIES_CONF'];
  if (named !== undefined && named !== '') return [[named], [`${system}.d`]];
  if (isRoot) return [[system], [`${system}.d`]];
  const own = join(env['HOME'] || homedir(), '.config', 'containers', 'registries.conf');
  return isFile(own) ? [[own], [`${own}.d`]] : [[system], [`${system}.d`, `${own}.d`]];
}

async function readConf(files: readonly string[], directories: readonly string[]): Promise<RegistriesConf> {
  const dropIns = directories.flatMap((directory) =>
    namesIn(directory)
      .filter((name) => name.endsWith('.conf'))
      .map((name) => join(directory, name)),
  );
  let conf = EMPTY_CONF;
  for (const path of [...files.filter(isFile), ...dropIns]) {
    const text = readText(path, DOING);
    if (!mayNameRegistries(text)) continue;
    conf = mergeRegistriesConf(conf, parseRegistriesConf(await parseToml(text, path, DOING), path));
  }
  return conf;
}

/**
 * Nearly every host has a file that only says where short names are looked for, which we do not: to find that out needs no
 * parser. A key begins a line, or is spelled with an escape; an alias of that name has a text for a value.
 */
function mayNameRegistries(text: string): boolean {
  return (
    /^[ \t]*(?:\[+[ \t]*["']?registr|["']?registr\w*["']?[ \t]*(?:=[ \t]*[[{]|\.))/m.test(text) || text.includes('\\')
  );
}

function certificateRoots({
  certsDir,
  env = process.env,
  etc = '/etc',
  isRoot = process.getuid?.() === 0,
}: HostFilesSettings) {
  if (certsDir === 'none') return [];
  if (certsDir !== undefined) return [certsDir];
  const own = join(env['HOME'] || homedir(), '.config', 'containers', 'certs.d');
  const system = [join(etc, 'containers', 'certs.d'), join(etc, 'docker', 'certs.d')];
  return isRoot ? system : [own, ...system];
}

/** What a `hosts.toml` says of certificates is all there is for its server. */
function withTrust(endpoint: Endpoint, trustOf: (host: string) => HostTrust): Endpoint {
  const { server } = endpoint;
  if (server.trust.ca !== undefined || server.trust.clients !== undefined) return endpoint;
  return { ...endpoint, server: { ...server, trust: trustOf(server.host) } };
}
