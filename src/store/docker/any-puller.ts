/**
 * The puller in front: archives go to the one for archives, references to the registry or what stands in its place. Each
 * is made when it is first needed: an image that is here needs neither.
 */
import { Lazy } from '../../concurrency.js';
import type { OnEvent } from '../../events.js';
import type { ImageRecord } from '../../metadata/records.js';
import { type ArchiveName, type ImageName, isArchiveName } from '../../spec/image-name.js';
import type { Reference } from '../../spec/reference.js';
import type { Puller, PullOptions, Resolution } from '../puller.js';

export class AnyPuller implements Puller {
  readonly #listeners = new Set<OnEvent>();
  readonly #archives: Lazy<Puller<ArchiveName>>;
  readonly #references: Lazy<Puller<Reference>>;

  constructor(archives: () => Promise<Puller<ArchiveName>>, references: () => Promise<Puller<Reference>>) {
    this.#archives = new Lazy(async () => this.#heard(await archives()));
    this.#references = new Lazy(async () => this.#heard(await references()));
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

  /** What a reference means is asked again only where the caller wants that. */
  async isCurrent(name: ImageName, record: ImageRecord, options: PullOptions): Promise<boolean> {
    return !isArchiveName(name) || (await this.#archives.get()).isCurrent(name, record, options);
  }

  #heard<P extends Puller<never>>(puller: P): P {
    puller.listen((event) => {
      for (const listener of this.#listeners) listener(event);
    });
    return puller;
  }
}
