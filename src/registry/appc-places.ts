import { constants } from 'node:fs';
import { copyFile, rm, stat } from 'node:fs/promises';
import { errnoOf, LarderError, systemError } from '../errors.js';
import type { AciExtension, AciUrls } from './appc-discovery.js';
import { copyFromHdfs } from './appc-hdfs.js';
import { downloadFile, type OnReceived } from './appc-http.js';
import type { RegistryHost } from './registry-host.js';
import { RequestPlan } from './request-plan.js';
import { withoutQuery } from './transport.js';

export interface CopyOptions {
  /** *what we were doing*: *to which thing*; opens every message. */
  readonly doing: string;
  readonly maxBytes: number;
  /** What to reject with when there is more. */
  readonly tooLong: () => LarderError;
  readonly signal?: AbortSignal | undefined;
  /** Told of downloads over HTTP. */
  readonly onReceived?: OnReceived | undefined;
}

/** One place that may have an image and its signature. */
export interface AciPlace {
  /** For messages and records: no query, no user information. */
  readonly from: string;
  /** Where the image is, when it is a file of this machine. */
  readonly localPath?: string;
  /** Whether anybody on the way can change what is fetched. */
  readonly isOpen: boolean;
  /** Writes a new file and returns its size; leaves nothing when it fails. Rejects with LARDER_IMAGE_NOT_FOUND among others. */
  copy(ext: AciExtension, to: string, options: CopyOptions): Promise<number>;
}

/** `pathOf` names the image, or its signature. */
export function filePlace(pathOf: (ext: AciExtension) => string): AciPlace {
  return {
    from: pathOf('aci'),
    localPath: pathOf('aci'),
    isOpen: false,
    copy: async (ext, to, options) => {
      const path = pathOf(ext);
      await sizeOfFile(path, options);
      try {
        await copyFile(path, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
        return (await stat(to)).size;
      } catch (error) {
        await rm(to, { force: true });
        throw systemError(`${options.doing}: ${path}`, error);
      }
    },
  };
}

export function hdfsPlace(urlOf: (ext: AciExtension) => string, hadoopHome: string | undefined): AciPlace {
  return {
    from: urlOf('aci'),
    isOpen: false,
    copy: (ext, to, options) => copyFromHdfs(urlOf(ext), to, { ...options, hadoopHome }),
  };
}

/** `origin` is who sent us there: where it may not send anybody, no request goes. */
export function httpPlace(urls: AciUrls, origin: RegistryHost): AciPlace {
  return {
    from: withoutQuery(urls.aci),
    isOpen: urls.aci.startsWith('http:'),
    copy: (ext, to, options) => {
      const url = new URL(ext === 'aci' ? urls.aci : urls.signature);
      const { doing } = options;
      const plan = new RequestPlan(origin, { kind: 'plain', url, doing, notFound: 'LARDER_IMAGE_NOT_FOUND' });
      return downloadFile(plan, to, options);
    },
  };
}

/** The size of a regular file. Rejects with LARDER_IMAGE_NOT_FOUND, LARDER_ARCHIVE_INVALID for anything else than a file, or `tooLong`. */
export async function sizeOfFile(path: string, { doing, maxBytes, tooLong }: CopyOptions): Promise<number> {
  let found: Awaited<ReturnType<typeof stat>>;
  try {
    found = await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR')
      throw new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: there is no file ${path}`, { cause: error });
    throw systemError(`${doing}: ${path}`, error);
  }
  if (!found.isFile()) throw new LarderError('LARDER_ARCHIVE_INVALID', `${doing}: ${path}: not a regular file`);
  if (found.size > maxBytes) throw tooLong();
  return found.size;
}
