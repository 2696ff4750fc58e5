/** The registries behind the face, asked with one caller's login or with none; the store's own client with its limits and mirrors. */
import type { Lazy } from '../concurrency.js';
import { LarderError } from '../errors.js';
import type { BlobBroker } from '../registry/blob-broker.js';
import type { FetchedDocument, PlaceOptions, RegistryClient, RequestOptions } from '../registry/registry-client.js';
import type { Descriptor } from '../spec/descriptor.js';
import type { Digest } from '../spec/digest.js';
import { formatReference, type Reference } from '../spec/reference.js';
import { atFirstPlace, isNoAnswerToHead, placesOf } from '../store/docker/registry-puller.js';

export interface UpstreamOptions {
  /** Undefined: nobody may be asked. */
  readonly client: Lazy<RegistryClient> | undefined;
  /** In the place of Docker Hub. */
  readonly defaultRegistry: string | undefined;
}

export class Upstream {
  readonly #client: Lazy<RegistryClient> | undefined;
  readonly #defaultRegistry: string | undefined;

  constructor({ client, defaultRegistry }: UpstreamOptions) {
    this.#client = client;
    this.#defaultRegistry = defaultRegistry;
  }

  /** The registry itself, and no mirror, lets the login have it. Rejects with what it says. */
  async proveManifest(reference: Reference, options: RequestOptions): Promise<void> {
    const at = { ...options, atRegistry: true };
    await this.#ask(reference, async (client, place) => {
      try {
        await client.head(place, at);
      } catch (error) {
        if (!isNoAnswerToHead(error)) throw error;
        await client.fetchDocument(place, at);
      }
    });
  }

  /** Undefined where the registry does not say. */
  async digestOf(reference: Reference, options: RequestOptions): Promise<Digest | undefined> {
    try {
      return await this.#ask(reference, (client, place) => client.head(place, options));
    } catch (error) {
      if (isNoAnswerToHead(error)) return undefined;
      throw error;
    }
  }

  document(reference: Reference, options: RequestOptions): Promise<FetchedDocument> {
    return this.#ask(reference, (client, place) => client.fetchDocument(place, options));
  }

  config(reference: Reference, descriptor: Descriptor, options: RequestOptions): Promise<Uint8Array> {
    return this.#ask(reference, (client, place) => client.fetchSmallBlob(place, descriptor, options));
  }

  /** Also says whether the repository has it. */
  blobSize(reference: Reference, digest: Digest, options: PlaceOptions): Promise<number> {
    return this.#ask(reference, (client, place) => client.blobSize(place, digest, options));
  }

  /** Leave for each request of one blob; disposed when its last body has ended. */
  async blob(reference: Reference, digest: Digest, options: RequestOptions): Promise<BlobBroker> {
    const client = await this.#mustAsk(reference);
    const place = await this.#placeOf(client, reference, digest, options);
    return client.broker(place, { ...options, counted: true });
  }

  /** In the place of Docker Hub there may be two. */
  async #placeOf(client: RegistryClient, reference: Reference, digest: Digest, options: RequestOptions) {
    const [first = reference, ...others] = placesOf(reference, this.#defaultRegistry);
    if (others.length === 0) return first;
    return atFirstPlace([first, ...others], async (place) => {
      await client.blobSize(place, digest, options);
      return place;
    });
  }

  async #ask<T>(reference: Reference, work: (client: RegistryClient, place: Reference) => Promise<T>): Promise<T> {
    const client = await this.#mustAsk(reference);
    return atFirstPlace(placesOf(reference, this.#defaultRegistry), (place) => work(client, place));
  }

  async #mustAsk(reference: Reference): Promise<RegistryClient> {
    if (this.#client !== undefined) return this.#client.get();
    throw new LarderError('LARDER_OFFLINE', `serve ${formatReference(reference)}: it is not in the store`, {
      hint: 'the settings say that nobody is asked: offline, or a docker_registry of archives',
    });
  }
}
