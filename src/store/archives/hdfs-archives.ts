/**
 * Pulls references from archives in HDFS, what `docker_registry` may name as well: one that has the image's name is copied
 * into the store's staging area, and read there as any other is. HDFS is not searched by content.
 */
import { join } from 'node:path';
import { isLarderError, LarderError } from '../../errors.js';
import { parsePlatform } from '../../spec/platform.js';
import { formatReference, type Reference } from '../../spec/reference.js';
import type { Puller, PullOptions, ResolvedImage } from '../puller.js';
import { fileNamesOf, resolveNamed } from './archive-directory.js';
import { resolvedImage } from './archive-puller.js';
import { openTar } from './archived-image.js';
import type { OpenArchiveParts } from './open-archive.js';

/** Copies a file; rejects with LARDER_IMAGE_NOT_FOUND where there is none of this URL. */
export type CopyFromHdfs = (url: string, path: string, signal: AbortSignal | undefined) => Promise<unknown>;

export class HdfsArchives implements Puller<Reference> {
  readonly #url: string;
  readonly #parts: OpenArchiveParts;
  readonly #copy: CopyFromHdfs;

  /** `url`: `hdfs://[HOST[:PORT]][/PATH]`. */
  constructor(url: string, parts: OpenArchiveParts, copy: CopyFromHdfs) {
    this.#url = `hdfs://${url.slice('hdfs://'.length).replace(/\/+$/, '')}`;
    this.#parts = parts;
    this.#copy = copy;
  }

  async resolve(reference: Reference, { signal, platform }: PullOptions): Promise<ResolvedImage> {
    const options = { parts: this.#parts, wanted: parsePlatform(platform), signal };
    const stage = await this.#parts.stage();
    try {
      const path = join(stage.path, 'copied.tar');
      await this.#copyAny(reference, path, signal);
      const opened = await openTar(path, options, (files) => resolveNamed(files, reference, options));
      return {
        ...resolvedImage(opened),
        [Symbol.asyncDispose]: async () => {
          await opened[Symbol.asyncDispose]();
          await stage[Symbol.asyncDispose]();
        },
      };
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The first archive that there is, of those that may have the image's name. */
  async #copyAny(reference: Reference, path: string, signal: AbortSignal | undefined): Promise<void> {
    const names = fileNamesOf(reference);
    for (const name of names) {
      try {
        await this.#copy(`${this.#url}/${name}.tar`, path, signal);
        return;
      } catch (error) {
        if (!isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) throw error;
      }
    }
    throw new LarderError('LARDER_IMAGE_NOT_FOUND', `find ${formatReference(reference)}: HDFS has no archive of it`, {
      hint: `${this.#url} has none of ${names.map((name) => `${name}.tar`).join(', ')}`,
    });
  }
}
