import { LarderError } from '../errors.js';

/** A name and a password for one registry. */
export interface Credential {
  readonly username: string;
  readonly password: string;
}

/** Who may log in where. Looked up by the exact `host[:port]`, never by a part of it. */
export interface Credentials {
  find(host: string): Credential | undefined;
  /** The credential helper that a `config.json` names for the host; larder does not run it yet. */
  helperFor(host: string): string | undefined;
}

export const NO_CREDENTIALS: Credentials = { find: () => undefined, helperFor: () => undefined };

/** A Docker `config.json`. `source` is for messages. Rejects with LARDER_CONFIG_INVALID. */
export function parseDockerConfig(_text: string, source: string): Credentials {
  throw new LarderError('LARDER_INTERNAL', `credentials: ${source}: not written yet`);
}

/** `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; none where there is no such file. Rejects with LARDER_CONFIG_INVALID. */
export async function loadDockerConfig(_env: NodeJS.ProcessEnv = process.env): Promise<Credentials> {
  return NO_CREDENTIALS;
}
