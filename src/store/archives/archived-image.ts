/** One image in an archive of either kind, open until its layers have been read. */
import type { ArchiveTransport } from '../../spec/image-name.js';
import type { Platform } from '../../spec/platform.js';
import { type ArchiveFile, invalid, isDirectory, realPlace } from './archive-files.js';
import type { ArchiveChoice, ArchiveImage } from './archive-image.js';
import type { HashArchivedJob, HashArchivedResult } from './archive-tasks.js';
import { resolveInDockerArchive } from './docker-archive.js';
import { LayoutDirectory } from './layout-directory.js';
import { resolveInLayout } from './oci-layout.js';
import { type OpenArchiveParts, openArchive } from './open-archive.js';
import type { TarMembers } from './tar-members.js';

export interface OpenedImage extends AsyncDisposable {
  readonly image: ArchiveImage;
  /** What the archive was when it was opened; undefined of a directory. */
  readonly identity: string | undefined;
}

export interface OpenImageOptions {
  readonly parts: OpenArchiveParts;
  readonly wanted: Platform;
  readonly signal?: AbortSignal | undefined;
}

/** An archive's place; a colon in the path is a character like any other here. */
export interface ArchivePlace {
  readonly transport: ArchiveTransport;
  readonly path: string;
}

/** Rejects with LARDER_IMAGE_NOT_FOUND, LARDER_ARCHIVE_INVALID, LARDER_REFERENCE_INVALID, LARDER_PLATFORM_NOT_FOUND, …. */
export async function openArchivedImage(
  { transport, path }: ArchivePlace,
  choice: ArchiveChoice,
  options: OpenImageOptions,
): Promise<OpenedImage> {
  await refuseOtherShape(transport, path);
  if (transport === 'oci') return openLayoutDirectory(path, choice, options.wanted);
  return openTar(path, options, (files) => resolveInTar(files, transport, choice, options));
}

export async function openLayoutDirectory(path: string, choice: ArchiveChoice, wanted: Platform): Promise<OpenedImage> {
  const files = new LayoutDirectory(path, await realPlace(path, `read layout ${path}`));
  return {
    image: await resolveInLayout(files, choice, wanted),
    identity: undefined,
    [Symbol.asyncDispose]: async () => {},
  };
}

/** What `resolve` finds in the archive, which is closed when it finds nothing. */
export async function openTar(
  path: string,
  { parts, signal }: OpenImageOptions,
  resolve: (files: TarMembers) => Promise<ArchiveImage>,
): Promise<OpenedImage> {
  const archive = await openArchive(path, parts, signal);
  try {
    const image = await resolve(archive.files);
    return { image, identity: archive.identity, [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose]() };
  } catch (error) {
    await archive[Symbol.asyncDispose]();
    throw error;
  }
}

export async function resolveInTar(
  files: TarMembers,
  transport: 'docker-archive' | 'oci-archive',
  choice: ArchiveChoice,
  { parts, wanted, signal }: OpenImageOptions,
): Promise<ArchiveImage> {
  if (transport === 'oci-archive') return resolveInLayout(files, choice, wanted);
  const job = (file: ArchiveFile): HashArchivedJob => ({ file, maxBytes: parts.maxBytes });
  return resolveInDockerArchive(files, choice, wanted, (file) =>
    parts.pool.run<HashArchivedResult>('hashArchived', job(file), signal === undefined ? {} : { signal }),
  );
}

/** A directory where an archive was named, or the other way round: a slip of the pen. */
async function refuseOtherShape(transport: ArchiveTransport, path: string): Promise<void> {
  const doing = `read ${transport} ${path}`;
  const found = await isDirectory(path, doing);
  if (found === (transport === 'oci')) return;
  if (found) throw invalid(doing, 'it is a directory', { hint: `an OCI layout is oci:${path}` });
  throw invalid(doing, 'it is not a directory', { hint: `a tar of an OCI layout is oci-archive:${path}` });
}
