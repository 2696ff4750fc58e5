/**
 * The puller in front: archives go to the one for archives, references to the registry or what stands in its place. Each
 * is made when it is first needed: an image that is here needs neither.
 */
import { Lazy } from '../../concurrency.js';
import { LarderError } from '../../errors.js';
import type { OnEvent } from '../../events.js';
import type { ImageRecord } from '../../metadata/records.js';
import { type ArchiveName, formatImageName, type ImageName, isArchiveName } from '../../spec/image-name.js';
import type { Reference } from '../../spec/reference.js';
import type { ImagePuller, ProvingPuller, Puller, PullOptions, Resolution } from '../puller.js';

/** Of archives: whether what is there is still what was pulled. */
export type Archives = Puller<ArchiveName> & {
  isCurrent(name: ArchiveName, record: ImageRecord, options: PullOptions): Promise<boolean>;
};

export class AnyPuller implements ImagePuller {
  readonly #listeners = new Set<OnEvent>();
  readonly #archives: Lazy<Archives>;
  readonly #references: Lazy<Puller<Reference> | ProvingPuller<Reference>>;

  /** `references` is given who hears of its requests. */
  constructor(
    archives: () => Promise<Archives>,
    references: (onEvent: OnEvent) => Promise<Puller<Reference> | ProvingPuller<Reference>>,
  ) {
    const tellAll: OnEvent = (event) => {
      for (const listener of this.#listeners) listener(event);
    };
    this.#archives = new Lazy(archives);
    this.#references = new Lazy(() => references(tellAll));
  }

  listen(onEvent: OnEvent): Disposable {
    // A listener of its own for each call, so that the same function can listen twice.
    const listener: OnEvent = (event) => onEvent(event);
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async resolve(name: ImageName, options: PullOptions): Promise<Resolution> {
    if (isArchiveName(name)) return (await this.#archives.get()).resolve(name, options);
    return (await this.#references.get()).resolve(name, options);
  }

  async prove(name: ImageName, options: PullOptions): Promise<void> {
    if (!isArchiveName(name)) {
      const references = await this.#references.get();
      if (canProve(references)) return references.prove(name, options);
    }
    throw new LarderError(
      'LARDER_POLICY_DENIED',
      `${formatImageName(name)}: it comes from no registry, so nobody can tell who may have it`,
    );
  }

  /** Of an archive only reading it tells. */
  async isFresh(name: ImageName, record: ImageRecord, options: PullOptions): Promise<boolean> {
    if (isArchiveName(name)) return false;
    const puller = await this.#references.get();
    return (await puller.digestOf?.(name, options)) === record.digest;
  }

  /** What a reference means is asked again only where the caller wants that. */
  async isCurrent(name: ImageName, record: ImageRecord, options: PullOptions): Promise<boolean> {
    return !isArchiveName(name) || (await this.#archives.get()).isCurrent(name, record, options);
  }
}

function canProve(puller: Puller<Reference>): puller is ProvingPuller<Reference> {
  return 'prove' in puller;
}
