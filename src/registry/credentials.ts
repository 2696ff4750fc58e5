/**
 * ▸ Who may log in where. A login is looked up by the exact `host[:port]` and the repository, never by a part of a host's
 * name, and only once the registry has asked for one. Owns nothing on disk. Called by the composition root and by the
 * registry client.
 */
import type { SecretText } from '../spec/secret-text.js';
import { AuthFiles } from './auth-files.js';
import { type AskOptions, CredentialHelpers } from './credential-helper.js';
import { type DockerConfig, type Login, normalHost, readDockerConfigText } from './docker-config.js';

export type { AskOptions } from './credential-helper.js';
export type { Login } from './docker-config.js';

export interface Credentials {
  /**
   * The login for a repository of a registry; without a repository, what opens all of the registry. Rejects with
   * LARDER_CONFIG_INVALID and LARDER_POLICY_DENIED when the file that has it is not usable any more,
   * LARDER_REGISTRY_UNAUTHENTICATED when a credential helper fails, LARDER_ABORTED.
   */
  find(host: string, repository?: string, options?: AskOptions): Promise<Login | undefined>;
  /** A credential helper that is named for the host and that nobody runs, for messages. */
  unusedHelper(host: string): string | undefined;
}

/** In place, or a file's path. */
export type DockerConfigSource =
  | { readonly kind: 'inline'; readonly text: SecretText }
  | { readonly kind: 'file'; readonly path: string };

export const NO_CREDENTIALS: Credentials = { find: async () => undefined, unusedHelper: () => undefined };

/** `over` decides for the registries that it has logins for, `base` for all others. */
export function overlayCredentials(over: Credentials, base: Credentials): Credentials {
  return {
    find: async (host, repository, options) =>
      (await over.find(host, repository, options)) ?? base.find(host, repository, options),
    unusedHelper: (host) => over.unusedHelper(host) ?? base.unusedHelper(host),
  };
}

/**
 * A Docker `config.json`, `.dockercfg` or `auth.json`. Helpers that it names are run only where they are given. `source` is
 * for messages, which have nothing of the text in them. Rejects with LARDER_CONFIG_INVALID.
 */
export function parseDockerConfig(text: string, source: string, helpers?: CredentialHelpers): Credentials {
  return credentialsIn(readDockerConfigText(text, source), helpers);
}

/**
 * Those of the user's own files; see `auth-files.ts` for which. None where there is no file. Files that change are read
 * again. Rejects with LARDER_CONFIG_INVALID, LARDER_POLICY_DENIED.
 */
export async function loadDockerConfig(env: NodeJS.ProcessEnv = process.env): Promise<Credentials> {
  return fromFiles(AuthFiles.ofUser(env), new CredentialHelpers({ env }));
}

/** What the setting `docker_config` names. Rejects with LARDER_CONFIG_INVALID, LARDER_POLICY_DENIED, LARDER_PERMISSION, LARDER_INTERNAL. */
export async function readDockerConfig(source: DockerConfigSource): Promise<Credentials> {
  const helpers = new CredentialHelpers();
  if (source.kind === 'inline') return parseDockerConfig(source.text.reveal(), 'docker_config', helpers);
  return fromFiles(AuthFiles.named(source.path), helpers);
}

/** In the order of the files: the first that has a login for the registry gives it. */
function fromFiles(files: AuthFiles, helpers: CredentialHelpers): Credentials {
  // What is wrong with them is said now, not in the middle of a pull.
  files.read();
  const all = (): Credentials[] =>
    files.read().map(({ config, trusted }) => credentialsIn(config, trusted ? helpers : undefined));
  return {
    find: async (host, repository, options) => {
      for (const credentials of all()) {
        const login = await credentials.find(host, repository, options);
        if (login !== undefined) return login;
      }
      return undefined;
    },
    unusedHelper: (host) => {
      for (const credentials of all()) {
        const name = credentials.unusedHelper(host);
        if (name !== undefined) return name;
      }
      return undefined;
    },
  };
}

/**
 * The order within one document: the longest key with a path that the repository lies below (podman's), the helper of
 * the host, the helper of all hosts, the entry of the host. As in Docker a helper comes before what is written down; a
 * helper that has nothing is no answer.
 */
function credentialsIn({ logins, helpers: named, store }: DockerConfig, helpers?: CredentialHelpers): Credentials {
  return {
    find: async (name, repository, options) => {
      const host = normalHost(name);
      const login = belowPath(logins, host, repository);
      if (login !== undefined) return login;
      const helper = named.get(host) ?? store;
      const known = helper === undefined ? undefined : await helpers?.get(helper, host, options);
      return known ?? logins.get(host);
    },
    unusedHelper: (name) => (helpers === undefined ? (named.get(normalHost(name)) ?? store) : undefined),
  };
}

function belowPath(logins: ReadonlyMap<string, Login>, host: string, repository = ''): Login | undefined {
  const parts = repository.split('/');
  for (let length = repository === '' ? 0 : parts.length; length > 0; length--) {
    const login = logins.get(`${host}/${parts.slice(0, length).join('/')}`);
    if (login !== undefined) return login;
  }
  return undefined;
}
