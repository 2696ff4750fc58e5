/** Pulls from a registry: resolves a reference to one manifest and its config, and says where each layer's bytes are. */
import { Lazy } from '../../concurrency.js';
import { isLarderError, LarderError } from '../../errors.js';
import type { BlobGrant, BlobRequest } from '../../registry/blob.js';
import type { RegistryClient, RequestOptions } from '../../registry/registry-client.js';
import { verifyBytes } from '../../spec/descriptor.js';
import type { Digest } from '../../spec/digest.js';
import { parseManifest } from '../../spec/manifest.js';
import { parsePlatform } from '../../spec/platform.js';
import { DEFAULT_DOMAIN, familiarReference, type Reference } from '../../spec/reference.js';
import type { ImageCredentials, ImageFacts, LayerOrigins, ProvingPuller, PullOptions, Resolution } from '../puller.js';
import { type DocumentSource, type FetchedManifest, resolveManifest } from './resolve-manifest.js';
import { resolveSchema1 } from './resolve-schema1.js';

export interface RegistryPullerOptions {
  /** `host[:port]` that is asked for what has no registry in its name, instead of Docker Hub. */
  readonly defaultRegistry?: string | undefined;
  /** For layers that the registry has not got; default: none is to be had elsewhere. */
  readonly foreign?: ForeignSource;
  /** Default: every document is fetched. */
  readonly documents?: KeptDocuments;
}

/** The document of this digest, from where documents are kept, or fetched once for all that want it at this time. */
export type KeptDocuments = (
  digest: Digest,
  fetch: () => Promise<Uint8Array>,
  signal: AbortSignal | undefined,
) => Promise<Uint8Array>;

/** Leave to fetch one layer where its manifest says that it is; rejects with the error that ends it. */
export type ForeignSource = (digest: Digest, urls: readonly string[], signal: AbortSignal | undefined) => ForeignAsk;
/** `missing`: what the registry said. */
export type ForeignAsk = (request: BlobRequest, missing: LarderError) => Promise<BlobGrant>;

export class RegistryPuller implements ProvingPuller<Reference> {
  readonly #client: Lazy<RegistryClient>;
  readonly #makeClient: (credentials: ImageCredentials) => Promise<RegistryClient>;
  readonly #defaultRegistry: string | undefined;
  readonly #foreign: ForeignSource | undefined;
  readonly #documents: KeptDocuments | undefined;

  /** The client is made when it is first needed: an image that is in the store needs none. */
  constructor(
    makeClient: (credentials?: ImageCredentials) => Promise<RegistryClient>,
    options: RegistryPullerOptions = {},
  ) {
    this.#client = new Lazy(() => makeClient());
    this.#makeClient = makeClient;
    this.#defaultRegistry = options.defaultRegistry;
    this.#foreign = options.foreign;
    this.#documents = options.documents;
  }

  async resolve(reference: Reference, options: PullOptions): Promise<Resolution> {
    return this.#atFirst(reference, (place) => this.#resolveAt(place, options));
  }

  async prove(reference: Reference, options: PullOptions): Promise<void> {
    const client = await this.#clientFor(options.credentials);
    const request = { ...requestOptions(options), atRegistry: true };
    await this.#atFirst(reference, async (place) => {
      try {
        await client.head(place, request);
      } catch (error) {
        if (!isNoAnswerToHead(error)) throw error;
        await client.resolve(place, request);
      }
    });
  }

  /** At the first place that has it. */
  async #atFirst<T>(reference: Reference, work: (place: Reference) => Promise<T>): Promise<T> {
    return atFirstPlace(placesOf(reference, this.#defaultRegistry), work);
  }

  /** One HEAD. */
  async digestOf(reference: Reference, options: PullOptions): Promise<Digest | undefined> {
    const client = await this.#clientFor(options.credentials);
    try {
      return await this.#atFirst(reference, (place) => client.head(place, requestOptions(options)));
    } catch (error) {
      if (isNoAnswerToHead(error)) return undefined;
      throw error;
    }
  }

  async #resolveAt(place: Reference, options: PullOptions): Promise<Resolution> {
    const doing = `resolve ${familiarReference(place)}`;
    const request = requestOptions(options);
    const client = await this.#clientFor(options.credentials);
    const source = this.#documentsAt(place, client, doing, options);
    const { manifest, ...top } = await client.resolve(place, request);
    const wanted = parsePlatform(options.platform);
    const held: LayerOrigins & AsyncDisposable = {
      from: await client.hostsOf(place),
      layerOrigin: ({ digest }, layerOptions) => {
        const broker = client.broker(place, { ...requestOptions(layerOptions), counted: true });
        return {
          kind: 'registry',
          ask: (question) => broker.ask(question),
          passOver: (error) => broker.passOver(digest, error),
          close: () => broker[Symbol.dispose](),
          end: (size, count) => client.blobEnd(place, { digest, size }, count, requestOptions(layerOptions)),
        };
      },
      [Symbol.asyncDispose]: async () => {},
    };
    if (manifest.kind === 'schema1') {
      return {
        ...resolveSchema1(manifest, top.digest, wanted, doing),
        sizeOf: (blob, blobOptions) => client.blobSize(place, blob, requestOptions(blobOptions)),
        ...held,
      };
    }
    const facts = await resolveManifest({ ...top, manifest }, source, wanted, doing);
    return { ...facts, ...this.#withForeign(held, facts.foreign) };
  }

  #documentsAt(place: Reference, client: RegistryClient, doing: string, options: PullOptions): DocumentSource {
    const request = requestOptions(options);
    // To know a digest is no leave to have what it names: who brings a login of his own is given what that login reaches.
    const isAlone = options.writesNothing === true || options.credentials !== undefined;
    const keep = isAlone ? undefined : this.#documents;
    const kept: KeptDocuments = keep ?? ((_digest, fetch) => fetch());
    return {
      fetchManifest: async (entry) => {
        let fetched: FetchedManifest | undefined;
        const fetch = async (): Promise<Uint8Array> => {
          fetched = await client.fetchManifest(place, entry, request);
          return fetched.bytes;
        };
        const bytes = await kept(entry.digest, fetch, options.signal);
        if (fetched !== undefined) return fetched;
        verifyBytes(entry, bytes, doing);
        return { digest: entry.digest, bytes, manifest: parseManifest(bytes, entry.mediaType, doing) };
      },
      fetchConfig: async (config) => {
        const fetch = (): Promise<Uint8Array> => client.fetchSmallBlob(place, config, request);
        const bytes = await kept(config.digest, fetch, options.signal);
        verifyBytes(config, bytes, doing);
        return bytes;
      },
    };
  }

  /** The registry is asked for every layer; what it has not got may be elsewhere. */
  #withForeign<T extends LayerOrigins>(held: T, urlsOf: ImageFacts['foreign']): T {
    const source = this.#foreign;
    if (urlsOf === undefined || source === undefined) return held;
    return {
      ...held,
      layerOrigin: (layer, options) => {
        const origin = held.layerOrigin(layer, options);
        const urls = urlsOf.get(layer.digest);
        if (urls === undefined || origin.kind === 'file') return origin;
        let missing: LarderError | undefined;
        const elsewhere = source(layer.digest, urls, options.signal);
        const ask = async (request: BlobRequest): Promise<BlobGrant> => {
          // Only of registries parts are asked for.
          if (missing !== undefined && request.lane !== undefined) throw missing;
          if (missing !== undefined) return elsewhere(request, missing);
          try {
            return await origin.ask(request);
          } catch (error) {
            // What a part is told says nothing of the layer, which is coming.
            if (!isLarderError(error, 'LARDER_BLOB_NOT_FOUND') || request.lane !== undefined) throw error;
            missing = error;
            const { previous: _, ...first } = request;
            return elsewhere({ ...first, attempt: 0 }, error);
          }
        };
        return { ...origin, ask };
      },
    };
  }

  /** What logs in as somebody else shares nothing with the others: neither connections nor tokens. */
  #clientFor(credentials: ImageCredentials | undefined): Promise<RegistryClient> {
    return credentials === undefined ? this.#client.get() : this.#makeClient(credentials);
  }
}

/**
 * Where to ask, best first. A registry in the place of Docker Hub has its official images under `library/` when it
 * mirrors Docker Hub, and where its users put them when it does not.
 */
export function placesOf(reference: Reference, defaultRegistry: string | undefined): readonly Reference[] {
  if (reference.domain !== DEFAULT_DOMAIN || defaultRegistry === undefined) return [reference];
  const here = { ...reference, domain: defaultRegistry };
  const short = /^library\/([^/]+)$/.exec(reference.path)?.[1];
  return short === undefined ? [here] : [here, { ...here, path: short }];
}

/** What the first place that has the image answers. */
export async function atFirstPlace<T>(
  places: readonly Reference[],
  work: (place: Reference) => Promise<T>,
): Promise<T> {
  for (const [i, place] of places.entries()) {
    try {
      return await work(place);
    } catch (error) {
      const isMissing = isLarderError(error, 'LARDER_IMAGE_NOT_FOUND', 'LARDER_BLOB_NOT_FOUND');
      if (i === places.length - 1 || !isMissing) throw error;
    }
  }
  throw new LarderError('LARDER_INTERNAL', 'ask a registry: there is nowhere to ask');
}

/** Some registries do not know HEAD, and say so in one of these ways; a GET has the last word. */
export function isNoAnswerToHead(error: unknown): boolean {
  return isLarderError(error) && [400, 404, 405, 501].some((status) => error.details['status'] === status);
}

function requestOptions({ signal }: { readonly signal?: AbortSignal }): RequestOptions {
  return signal === undefined ? {} : { signal };
}
