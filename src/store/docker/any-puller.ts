/** The puller in front: archives go to the one for archives, references to the registry or what stands in its place. */
import type { OnEvent } from '../../events.js';
import type { ImageRecord } from '../../metadata/records.js';
import { type ArchiveName, type ImageName, isArchiveName } from '../../spec/image-name.js';
import type { Reference } from '../../spec/reference.js';
import type { Puller, PullOptions, Resolution } from '../puller.js';

export class AnyPuller implements Puller {
  readonly #archives: Puller<ArchiveName>;
  readonly #references: Puller<Reference>;

  constructor(archives: Puller<ArchiveName>, references: Puller<Reference>) {
    this.#archives = archives;
    this.#references = references;
  }

  listen(onEvent: OnEvent): Disposable {
    const listening = [this.#archives.listen(onEvent), this.#references.listen(onEvent)];
    return {
      [Symbol.dispose]: () => {
        for (const one of listening) one[Symbol.dispose]();
      },
    };
  }

  resolve(name: ImageName, options: PullOptions): Promise<Resolution> {
    return isArchiveName(name) ? this.#archives.resolve(name, options) : this.#references.resolve(name, options);
  }

  isCurrent(name: ImageName, record: ImageRecord, options: PullOptions): Promise<boolean> {
    if (isArchiveName(name)) return this.#archives.isCurrent(name, record, options);
    return this.#references.isCurrent(name, record, options);
  }
}
