/**
 * Pulls references from a directory of archives, what `docker_registry` may name. An archive is found by its name, as
 * Mesos has it (`busybox:latest.tar`, `library/alpine.tar`), else by what the archives right in the directory say that
 * they hold. The image keeps the reference as its name, and once it is here it stands, as one of a registry does.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isLarderError, LarderError, systemError } from '../../errors.js';
import { parsePlatform } from '../../spec/platform.js';
import { DEFAULT_DOMAIN, formatReference, type Reference } from '../../spec/reference.js';
import type { Puller, PullOptions, ResolvedImage } from '../puller.js';
import { realPlace } from './archive-files.js';
import type { ArchiveChoice, ArchiveImage, ListedImage } from './archive-image.js';
import { resolvedImage } from './archive-puller.js';
import {
  type OpenedImage,
  type OpenImageOptions,
  openLayoutDirectory,
  openTar,
  resolveInTar,
} from './archived-image.js';
import { listDockerArchive } from './docker-archive.js';
import { LayoutDirectory } from './layout-directory.js';
import { listLayout } from './oci-layout.js';
import type { OpenArchiveParts } from './open-archive.js';
import type { TarMembers } from './tar-members.js';

const ENDINGS = ['.tar', '.tar.gz', '.tgz', '.tar.zst'];
/** Beyond it only names find an archive. */
const MAX_SEARCHED = 1000;

export class ArchiveDirectory implements Puller<Reference> {
  readonly #directory: string;
  readonly #parts: OpenArchiveParts;

  constructor(directory: string, parts: OpenArchiveParts) {
    this.#directory = directory;
    this.#parts = parts;
  }

  async resolve(reference: Reference, { signal, platform }: PullOptions): Promise<ResolvedImage> {
    const options = { parts: this.#parts, wanted: parsePlatform(platform), signal };
    const found = (await this.#byFileName(reference, options)) ?? (await this.#byContent(reference, options));
    if (found !== undefined) return resolvedImage(found);
    throw new LarderError('LARDER_IMAGE_NOT_FOUND', `find ${formatReference(reference)}: no archive has it`, {
      hint: `${this.#directory} has neither ${fileNamesOf(reference)[0]}.tar nor an archive that holds it`,
    });
  }

  async #byFileName(reference: Reference, options: OpenImageOptions): Promise<OpenedImage | undefined> {
    for (const name of fileNamesOf(reference)) {
      const opened = await this.#named(join(this.#directory, name), reference, options);
      if (opened !== undefined) return opened;
    }
    return undefined;
  }

  async #named(path: string, reference: Reference, options: OpenImageOptions): Promise<OpenedImage | undefined> {
    try {
      for (const ending of ENDINGS) {
        if (!(await isFile(`${path}${ending}`))) continue;
        return await openTar(`${path}${ending}`, options, (files) => resolveNamed(files, reference, options));
      }
      if (!(await isFile(join(path, 'oci-layout')))) return undefined;
      const entries = await listLayout(new LayoutDirectory(path, await realPlace(path, `read layout ${path}`)));
      return await openLayoutDirectory(path, choiceIn(entries, reference), options.wanted);
    } catch (error) {
      // It has the name but not the image: another one may have it.
      if (isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /** What cannot be read is no reason not to look into the others; what is compressed as a whole would take too long. */
  async #byContent(reference: Reference, options: OpenImageOptions): Promise<OpenedImage | undefined> {
    const names = (await namesIn(this.#directory)).filter((name) => name.endsWith('.tar')).sort();
    for (const name of names.slice(0, MAX_SEARCHED)) {
      try {
        return await openTar(join(this.#directory, name), options, (files) => resolveHeld(files, reference, options));
      } catch (error) {
        if (!isLarderError(error, 'LARDER_IMAGE_NOT_FOUND', 'LARDER_ARCHIVE_INVALID')) throw error;
      }
    }
    return undefined;
  }
}

/**
 * The names that an archive of the image may have, without an ending: as a caller may have written the reference, and
 * canonical. Made of a parsed reference, none can lead out of a directory.
 */
export function fileNamesOf({ domain, path, tag, digest }: Reference): string[] {
  const official = /^library\/([^/]+)$/.exec(path)?.[1];
  const familiar = domain !== DEFAULT_DOMAIN ? [] : official === undefined ? [path] : [official, path];
  const full = [
    `${domain}/${path}`,
    ...(domain === DEFAULT_DOMAIN && official !== undefined ? [`${domain}/${official}`] : []),
  ];
  const suffixes = [
    ...(digest === undefined ? [] : [`@${digest}`]),
    ...(tag === undefined ? [] : [`:${tag}`]),
    ...(digest === undefined && tag === 'latest' ? [''] : []),
  ];
  return [...familiar, ...full].flatMap((name) => suffixes.map((suffix) => `${name}${suffix}`));
}

/** The archive has the image's name, so what it holds may have no name, or only a tag. */
export async function resolveNamed(
  files: TarMembers,
  reference: Reference,
  options: OpenImageOptions,
): Promise<ArchiveImage> {
  const transport = await transportOf(files);
  const images = await listOf(files, transport);
  return resolveInTar(files, transport, choiceIn(images, reference), options);
}

async function resolveHeld(files: TarMembers, reference: Reference, options: OpenImageOptions) {
  return resolveInTar(files, await transportOf(files), choiceOf(reference), options);
}

function listOf(files: TarMembers, transport: 'docker-archive' | 'oci-archive'): Promise<readonly ListedImage[]> {
  return transport === 'oci-archive' ? listLayout(files) : listDockerArchive(files);
}

async function transportOf(files: TarMembers): Promise<'docker-archive' | 'oci-archive'> {
  for (const name of ['manifest.json', 'repositories'])
    if ((await files.find(name)) !== undefined) return 'docker-archive';
  return 'oci-archive';
}

function choiceIn(images: readonly ListedImage[], reference: Reference): ArchiveChoice {
  const { tag, digest } = reference;
  if (digest !== undefined) return choiceOf(reference);
  if (images.every(({ names }) => names.length === 0)) return undefined;
  const tagAlone = tag !== undefined && images.some(({ names }) => names.includes(tag));
  return tagAlone ? { kind: 'name', name: tag } : choiceOf(reference);
}

function choiceOf(reference: Reference): ArchiveChoice {
  if (reference.digest !== undefined) return { kind: 'digest', digest: reference.digest };
  return { kind: 'reference', reference };
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    const errno = errnoOf(error) ?? '';
    // ENAMETOOLONG: no file can have it.
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ENAMETOOLONG') return false;
    throw systemError(`look for ${path}`, error);
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    throw systemError(`list the archives in ${directory}`, error);
  }
}
