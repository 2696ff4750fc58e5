import { type BigIntStats, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { errnoOf, LarderError, systemError } from '../errors.js';
import { readPlainFile } from '../linux/plain-file.js';
import { type DockerConfig, readDockerConfigText } from './docker-config.js';

export interface ReadAuthFile {
  readonly config: DockerConfig;
  /** Only root and we can have written it: programs that it names may be run. */
  readonly trusted: boolean;
}

interface Cached extends ReadAuthFile {
  /** Changes with every change of the file. */
  readonly version: string;
}

const MAX_CONFIG_FILE = 4 * 1024 * 1024;

/**
 * Files of logins, best first, read again when they have changed: whoever logs in with `docker login` need not restart a
 * daemon.
 */
export class AuthFiles {
  readonly #paths: readonly string[];
  /** A file that was named must be there. */
  readonly #required: boolean;
  readonly #cache = new Map<string, Cached>();

  private constructor(paths: readonly string[], required: boolean) {
    this.#paths = paths;
    this.#required = required;
  }

  static named(path: string): AuthFiles {
    return new AuthFiles([path], true);
  }

  /**
   * `$REGISTRY_AUTH_FILE` alone, else `$DOCKER_CONFIG/config.json` alone: who sets one of them means it. Else all places where
   * `podman login` and `docker login` write, in podman's order (containers-auth.json(5)).
   */
  static ofUser(env: NodeJS.ProcessEnv): AuthFiles {
    const { REGISTRY_AUTH_FILE: file, DOCKER_CONFIG: directory } = env;
    if (file) return new AuthFiles([file], false);
    if (directory) return new AuthFiles([join(directory, 'config.json')], false);
    const home = env['HOME'] || homedir();
    const runtime = absolute(env['XDG_RUNTIME_DIR']) ?? join('/run/containers', String(process.getuid?.() ?? 0));
    const runtimeFile = absolute(env['XDG_RUNTIME_DIR'])
      ? join(runtime, 'containers/auth.json')
      : join(runtime, 'auth.json');
    return new AuthFiles(
      [
        runtimeFile,
        join(absolute(env['XDG_CONFIG_HOME']) ?? join(home, '.config'), 'containers/auth.json'),
        join(home, '.docker/config.json'),
        join(home, '.dockercfg'),
      ],
      false,
    );
  }

  /** Those that are there. Rejects with LARDER_CONFIG_INVALID, LARDER_POLICY_DENIED, LARDER_PERMISSION. */
  read(): ReadAuthFile[] {
    return this.#paths.flatMap((path) => this.#read(path) ?? []);
  }

  #read(path: string): ReadAuthFile | undefined {
    try {
      const version = versionOf(path, this.#required);
      if (version === undefined) return undefined;
      const known = this.#cache.get(path);
      if (known?.version === version) return known;
      const how = { doing: 'credentials', code: 'LARDER_CONFIG_INVALID', maxBytes: MAX_CONFIG_FILE } as const;
      const config = readDockerConfigText(readPlainFile(path, how).toString('utf8'), path);
      const fresh = { config, version, trusted: isTrusted(path) };
      this.#cache.set(path, fresh);
      return fresh;
    } catch (error) {
      throw systemError(`credentials: ${path}`, error);
    }
  }
}

/** Undefined when there is no such file, or none that we could see: `/run/containers` is root's. */
function versionOf(path: string, required: boolean): string | undefined {
  const stat = required ? statSync(path, { bigint: true }) : findStat(path);
  if (stat === undefined) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs, mode } = stat;
  // What is no file is refused as such when it is read.
  if (stat.isFile() && (mode & 0o022n) !== 0n) {
    throw new LarderError('LARDER_POLICY_DENIED', `credentials: ${path}: others than its owner can write to it`, {
      hint: 'chmod 600 it',
    });
  }
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

function findStat(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function isTrusted(path: string): boolean {
  const { uid } = statSync(path);
  return uid === 0 || uid === process.getuid?.();
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}
