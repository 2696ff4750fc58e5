import type { ImageConfig } from './image-config.js';

/** A Docker v1 image manifest, field for field what Mesos's `docker::spec::v1::ImageManifest` has (`v1.proto`). */
export interface DockerV1Manifest {
  readonly id?: string;
  readonly parent?: string;
  readonly comment?: string;
  readonly created?: string;
  readonly container?: string;
  readonly container_config?: DockerV1Config;
  readonly docker_version?: string;
  readonly author?: string;
  readonly config?: DockerV1Config;
  readonly architecture?: string;
  readonly os?: string;
  readonly Size?: number;
}

export interface DockerV1Config {
  readonly Hostname?: string;
  readonly Entrypoint?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly Image?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** The v1 view of a modern image's config. `imageId` is the hex of the config's digest, as Docker fills it in. */
export function dockerV1From(image: ImageConfig, imageId: string): DockerV1Manifest {
  const { config } = image;
  return {
    id: imageId,
    ...(image.created === undefined ? {} : { created: image.created }),
    ...(image.author === undefined ? {} : { author: image.author }),
    ...(image.architecture === '' ? {} : { architecture: image.architecture }),
    ...(image.os === '' ? {} : { os: image.os }),
    config: {
      ...(config.Hostname === '' ? {} : { Hostname: config.Hostname }),
      ...(config.Entrypoint === undefined ? {} : { Entrypoint: config.Entrypoint }),
      Env: config.Env,
      User: config.User,
      ...(config.Cmd === undefined ? {} : { Cmd: config.Cmd }),
      WorkingDir: config.WorkingDir,
      Labels: config.Labels,
    },
  };
}
