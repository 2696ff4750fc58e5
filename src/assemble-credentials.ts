/** Who may log in where: the default credentials, and those of single images, whose secrets are resolved here. */
import { createHmac, randomBytes } from 'node:crypto';
import { Lazy } from './concurrency.js';
import type { Config } from './config.js';
import type { Credentials } from './registry/credentials.js';
import type { DockerImage, Secret, SecretResolver } from './spec/image.js';
import type { ImageCredentials } from './store/puller.js';

export interface LoginOptions {
  readonly config: Pick<Config, 'dockerConfig' | 'secretResolver'>;
  /** Instead of the one that the settings name. */
  readonly secretResolver: SecretResolver | undefined;
}

export class Logins {
  readonly #resolver: Lazy<SecretResolver>;
  readonly #default: Lazy<Credentials>;
  readonly #salt = randomBytes(32);

  constructor({ config, secretResolver }: LoginOptions) {
    this.#resolver = new Lazy(async () => {
      if (secretResolver !== undefined) return secretResolver;
      const { createSecretResolver } = await import('./secrets.js');
      return createSecretResolver(config.secretResolver);
    });
    this.#default = new Lazy(async () => {
      const { loadDockerConfig, readDockerConfig } = await import('./registry/credentials.js');
      return config.dockerConfig === undefined ? loadDockerConfig() : readDockerConfig(config.dockerConfig);
    });
  }

  /** Those of `docker_config`, read when they are first asked for. */
  default(): Promise<Credentials> {
    return this.#default.get();
  }

  /**
   * Those of one image, key by key before the default ones, or alone; undefined where it has the default ones only.
   * Who has different ones shares no pull. Rejects as `SecretResolver.resolve`, and with LARDER_CONFIG_INVALID when the
   * secret is no Docker configuration.
   */
  async of({
    config,
    defaultLogin = true,
  }: Pick<DockerImage, 'config' | 'defaultLogin'>): Promise<ImageCredentials | undefined> {
    if (config === undefined && defaultLogin) return undefined;
    const { NO_CREDENTIALS, overlayCredentials } = await import('./registry/credentials.js');
    const own = config === undefined ? { ...NO_CREDENTIALS, id: '' } : await this.#ownOf(config);
    if (!defaultLogin) return { ...own, id: `alone ${own.id}` };
    return { ...overlayCredentials(own, await this.default()), id: own.id };
  }

  /**
   * A configuration that came with an image may be anybody's: the helpers that it names are not run, since they would
   * log in as the user that larder runs as.
   */
  async #ownOf(secret: Secret): Promise<ImageCredentials> {
    const resolver = await this.#resolver.get();
    const text = await resolver.resolve(secret);
    const { parseDockerConfig } = await import('./registry/credentials.js');
    // Two pulls with equal credentials may share; nobody can tell from the id what these are.
    const id = createHmac('sha256', this.#salt).update(text).digest('hex');
    return { ...parseDockerConfig(text, "the image's own config"), id };
  }
}
