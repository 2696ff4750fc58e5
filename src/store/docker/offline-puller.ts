/** In the place of registries where nobody may be asked: only what a digest names may be in the store under another name. */
import type { ContentStore } from '../../content/content-store.js';
import { LarderError } from '../../errors.js';
import type { LayerStore } from '../../layers/layer-store.js';
import type { Digest } from '../../spec/digest.js';
import { parsePlatform } from '../../spec/platform.js';
import { familiarReference, type Reference } from '../../spec/reference.js';
import type { ImageFacts, ProvingPuller, PullOptions, Resolution } from '../puller.js';
import { imageInStore } from './past-image.js';
import { resolveStored } from './stored-image.js';

export class OfflinePuller implements ProvingPuller<Reference> {
  readonly #content: ContentStore;
  readonly #layers: LayerStore;

  constructor(content: ContentStore, layers: LayerStore) {
    this.#content = content;
    this.#layers = layers;
  }

  /** Rejects with LARDER_OFFLINE. */
  async digestOf(reference: Reference): Promise<Digest | undefined> {
    throw notAsked(reference, 'leave --refresh out to take what is in the store, or --offline to ask');
  }

  /** Rejects with LARDER_OFFLINE. */
  async prove(reference: Reference): Promise<void> {
    throw notAsked(reference, 'only its registry can tell who may have it: try again when it may be asked');
  }

  async resolve(reference: Reference, { platform, credentials }: PullOptions): Promise<Resolution> {
    const doing = `resolve ${familiarReference(reference)}`;
    // What is here under another name may be here by somebody else's login.
    const digest = credentials === undefined ? reference.digest : undefined;
    const stored =
      digest === undefined ? undefined : await resolveStored(digest, parsePlatform(platform), this.#content, doing);
    if (stored !== undefined && (await this.#hasAll(stored))) return imageInStore(stored);
    throw new LarderError(
      'LARDER_OFFLINE',
      `${doing}: its registry was to be asked for ${platform}, and larder is offline`,
      {
        hint: '`larder images` lists what is there, which is taken without --refresh; pull the rest without the setting offline',
      },
    );
  }

  async #hasAll({ layers }: ImageFacts): Promise<boolean> {
    for (const { diffId } of layers) if (!(await this.#layers.has(diffId))) return false;
    return true;
  }
}

function notAsked(reference: Reference, hint: string): LarderError {
  return new LarderError(
    'LARDER_OFFLINE',
    `resolve ${familiarReference(reference)}: its registry was to be asked, and larder is offline`,
    { hint },
  );
}
