import type { Flags } from '../config.js';
import type { Credentials, Login } from '../registry/credentials.js';
import type { Secret } from '../spec/image.js';
import { isArchiveName, parseImageName } from '../spec/image-name.js';
import { registryHostOf } from '../spec/reference.js';

/**
 * The caller's login for one image, and no other, as a daemon takes it that has to know who asks. Helpers are run here, as
 * the caller. Undefined where there is none. Rejects as reading the caller's logins does.
 */
export async function ownLogin(reference: string, flags: Flags): Promise<Secret | undefined> {
  const name = parseImageName(reference, process.cwd());
  if (isArchiveName(name)) return undefined;
  const login = await (await credentialsOf(flags)).find(registryHostOf(name), name.path);
  if (login === undefined) return undefined;
  return { type: 'value', value: JSON.stringify({ auths: { [`${name.domain}/${name.path}`]: entryOf(login) } }) };
}

async function credentialsOf({ docker_config: source }: Flags): Promise<Credentials> {
  const { loadDockerConfig, readDockerConfig } = await import('../registry/credentials.js');
  return source === undefined ? loadDockerConfig() : readDockerConfig(source);
}

function entryOf(login: Login): Readonly<Record<string, string>> {
  switch (login.kind) {
    case 'password':
      return { username: login.username, password: login.password };
    case 'identity':
      return { identitytoken: login.token };
    case 'bearer':
      return { registrytoken: login.token };
  }
}
