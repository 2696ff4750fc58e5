/** The files of an OCI layout that is a directory: regular files that lie in it, reached through no symlink. */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, systemError } from '../../errors.js';
import { type ArchiveFile, type ArchiveFiles, invalid, withRegularFile } from './archive-files.js';

/** What a layout has by its specification; nothing else of the directory is touched. */
const NAME = /^(?:oci-layout|index\.json|blobs\/sha(?:256|512)\/[0-9a-f]{64,128})$/;

export class LayoutDirectory implements ArchiveFiles {
  readonly name: string;
  readonly #path: string;

  /** `name` is for messages, `path` where it really lies. */
  constructor(name: string, path: string) {
    this.name = name;
    this.#path = path;
  }

  async find(name: string): Promise<ArchiveFile | undefined> {
    if (!NAME.test(name)) return undefined;
    const doing = `read layout ${this.name}`;
    const path = join(this.#path, name);
    const real = await realpath(path).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw systemError(doing, error);
    });
    if (real === undefined) return undefined;
    if (real !== path) throw invalid(doing, `${name} is reached through a symbolic link`);
    return withRegularFile(path, doing, async (_, { size }) => ({ path, offset: 0, size }));
  }
}
