/**
 * Pulls from archives on this machine: what `docker save` and podman write, OCI layouts and tars of them, compressed as a
 * whole or not. Layers are not copied out first: their bytes are read where they lie, and proven on the way.
 */
import { isLarderError } from '../../errors.js';
import type { ImageRecord } from '../../metadata/records.js';
import { type ArchiveName, formatImageName } from '../../spec/image-name.js';
import { parsePlatform } from '../../spec/platform.js';
import type { ImageFacts, Puller, PullOptions, ResolvedImage } from '../puller.js';
import { identityOfFile } from './archive-files.js';
import { originIn } from './archive-image.js';
import { type OpenedImage, openArchivedImage } from './archived-image.js';
import type { OpenArchiveParts } from './open-archive.js';

type Answer = Pick<ImageFacts, 'digest' | 'manifest' | 'config'>;

const MAX_SEEN = 1000;

export class ArchivePuller implements Puller<ArchiveName> {
  readonly #parts: OpenArchiveParts;
  /** What names resolved to, by what the archive was then: some archives take long to look into. */
  readonly #seen = new Map<string, Answer>();

  constructor(parts: OpenArchiveParts) {
    this.#parts = parts;
  }

  async resolve(name: ArchiveName, options: PullOptions): Promise<ResolvedImage> {
    return { ...resolvedImage(await this.#open(name, options)), from: [name.path] };
  }

  async isCurrent(name: ArchiveName, record: ImageRecord, options: PullOptions): Promise<boolean> {
    try {
      const { digest, manifest, config } = await this.#answer(name, options);
      return digest === record.digest && manifest === record.manifest && config === record.config;
    } catch (error) {
      if (isGone(error)) return true;
      throw error;
    }
  }

  async #answer(name: ArchiveName, options: PullOptions): Promise<Answer> {
    const identity = name.transport === 'oci' ? undefined : await identityOfFile(name.path);
    const key = `${identity} ${options.platform} ${formatImageName(name)}`;
    const seen = identity === undefined ? undefined : this.#seen.get(key);
    if (seen !== undefined) return seen;
    await using opened = await this.#open(name, options);
    const { digest, manifest, config } = opened.image.facts;
    const answer = { digest, manifest, config };
    if (identity !== undefined && identity === opened.identity) {
      if (this.#seen.size >= MAX_SEEN) this.#seen.clear();
      this.#seen.set(key, answer);
    }
    return answer;
  }

  #open({ transport, path, inside }: ArchiveName, { signal, platform }: PullOptions): Promise<OpenedImage> {
    return openArchivedImage({ transport, path }, inside, {
      parts: this.#parts,
      wanted: parsePlatform(platform),
      signal,
    });
  }
}

export function resolvedImage(opened: OpenedImage): ResolvedImage {
  return {
    ...opened.image.facts,
    layerOrigin: (layer) => originIn(opened.image, layer),
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
}

/** The file itself, and not only the image in it: then what was pulled from it is all there is. */
function isGone(error: unknown): boolean {
  return isLarderError(error, 'LARDER_IMAGE_NOT_FOUND') && error.details['errno'] !== undefined;
}
