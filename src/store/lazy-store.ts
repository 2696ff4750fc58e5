import { Lazy } from '../concurrency.js';
import type { OperationOptions } from '../events.js';
import type { Image } from '../spec/image.js';
import type { PullPlan } from './docker/pull-plan.js';
import type { AcquireOptions, BackendChoice, HeldImage, ImageInfo, PruneOptions, Store } from './store.js';

/** A store that is made when it is first asked for something: who asks it for nothing need not load its code. */
export class LazyStore implements Store {
  readonly #store: Lazy<Store>;

  constructor(make: () => Promise<Store>) {
    this.#store = new Lazy(make);
  }

  async recover(options?: OperationOptions): Promise<void> {
    await (await this.#store.get()).recover(options);
  }

  async get(image: Image, backend: string, options?: OperationOptions): Promise<ImageInfo> {
    return (await this.#store.get()).get(image, backend, options);
  }

  async acquire(image: Image, backend: BackendChoice, options?: AcquireOptions): Promise<HeldImage> {
    return (await this.#store.get()).acquire(image, backend, options);
  }

  async plan(image: Image, options?: OperationOptions): Promise<PullPlan> {
    return (await this.#store.get()).plan(image, options);
  }

  async prune(
    excludedImages: readonly Image[],
    activeLayerPaths: ReadonlySet<string>,
    options?: PruneOptions,
  ): Promise<void> {
    await (await this.#store.get()).prune(excludedImages, activeLayerPaths, options);
  }
}
