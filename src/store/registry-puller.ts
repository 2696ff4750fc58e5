/** Pulls from a registry: resolves a reference to one manifest and its config, and says where each layer's bytes are. */
import { Lazy } from '../concurrency.js';
import { LarderError } from '../errors.js';
import type { OnEvent } from '../events.js';
import type { ImageLayer } from '../metadata/records.js';
import type { RegistryClient, RequestOptions, ResolvedManifest } from '../registry/registry-client.js';
import { checkDiffIds, type ImageConfig, parseImageConfig, platformOfConfig } from '../spec/image-config.js';
import type { ImageManifest } from '../spec/manifest.js';
import { isIndexType } from '../spec/media-types.js';
import {
  findPlatform,
  formatPlatform,
  type Platform,
  parsePlatform,
  platformMatches,
  platformNotFound,
} from '../spec/platform.js';
import { familiarReference, type Reference } from '../spec/reference.js';
import type { FetchedDocument, LayerOrigin, Puller, PullOptions, ResolvedImage } from './puller.js';

/** An image index may name an image index; three levels are more than anyone has a use for. */
const MAX_NESTING = 3;
/** Each costs a request. */
const MAX_NESTED_INDEXES = 10;

export class RegistryPuller implements Puller {
  readonly #listeners = new Set<OnEvent>();
  readonly #client: Lazy<RegistryClient>;

  /** The client is made when it is first needed: an image that is in the store needs none. */
  constructor(makeClient: (onEvent: OnEvent) => Promise<RegistryClient>) {
    const tellAll: OnEvent = (event) => {
      for (const listener of this.#listeners) listener(event);
    };
    this.#client = new Lazy(() => makeClient(tellAll));
  }

  listen(onEvent: OnEvent): Disposable {
    // A listener of its own for each call, so that the same function can listen twice.
    const listener: OnEvent = (event) => onEvent(event);
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async resolve(reference: Reference, options: PullOptions): Promise<ResolvedImage> {
    const doing = `resolve ${familiarReference(reference)}`;
    const wanted = parsePlatform(options.platform);
    const request = requestOptions(options);
    const { documents, manifest } = await this.#walk(reference, wanted, doing, request);
    const client = await this.#client.get();
    const bytes = await client.fetchSmallBlob(reference, manifest.config, request);
    const image = parseImageConfig(bytes, doing);
    checkDiffIds(manifest, image, doing);
    const [first] = documents;
    const last = documents.at(-1);
    if (first === undefined || last === undefined) throw new LarderError('LARDER_INTERNAL', `${doing}: no manifest`);
    return {
      digest: first.digest,
      documents: [...documents, { digest: manifest.config.digest, bytes }],
      manifest: last.digest,
      config: manifest.config.digest,
      imageConfig: image,
      platform: formatPlatform(platformOf(image, wanted, doing)),
      layers: layersOf(manifest, image),
    };
  }

  layerOrigin(reference: Reference, _layer: ImageLayer, options: PullOptions): LayerOrigin {
    const broker = this.#client.get().then((client) => client.broker(reference, requestOptions(options)));
    return { kind: 'registry', ask: async (request) => (await broker).ask(request) };
  }

  /** From what the reference names down to the manifest of the wanted platform. */
  async #walk(
    reference: Reference,
    wanted: Platform,
    doing: string,
    request: RequestOptions,
  ): Promise<{ documents: FetchedDocument[]; manifest: ImageManifest }> {
    const client = await this.#client.get();
    const top = await client.resolve(reference, request);
    const search: Search = { client, reference, wanted, doing, request };
    const found = await descend(search, top, 0);
    if (found !== undefined) return found;
    const entries = top.manifest.kind === 'index' ? top.manifest.manifests : [];
    throw platformNotFound(entries, wanted, doing);
  }
}

interface Search {
  readonly client: RegistryClient;
  readonly reference: Reference;
  readonly wanted: Platform;
  readonly doing: string;
  readonly request: RequestOptions;
}

/** The documents from here down to a manifest for the platform: by the index's own entries first, then in the indexes that it names. */
async function descend(
  search: Search,
  { digest, bytes, manifest }: ResolvedManifest,
  depth: number,
): Promise<{ documents: FetchedDocument[]; manifest: ImageManifest } | undefined> {
  const here: FetchedDocument = { digest, bytes };
  if (manifest.kind === 'manifest') return { documents: [here], manifest };
  const { client, reference, wanted, doing, request } = search;
  if (depth === MAX_NESTING) {
    throw new LarderError(
      'LARDER_MANIFEST_INVALID',
      `${doing}: image indexes are nested more than ${MAX_NESTING} deep`,
    );
  }
  const nested = manifest.manifests.filter(({ mediaType }) => isIndexType(mediaType));
  const plain = manifest.manifests.filter(({ mediaType }) => !isIndexType(mediaType));
  const match = findPlatform(plain, wanted);
  for (const entry of match === undefined ? nested.slice(0, MAX_NESTED_INDEXES) : [match]) {
    const next = await client.fetchManifest(reference, entry, request);
    const found = await descend(search, next, depth + 1);
    if (found !== undefined) return { documents: [here, ...found.documents], manifest: found.manifest };
  }
  return undefined;
}

/** The platform that the image says it is for; one that says nothing is taken at the index's word. */
function platformOf(image: ImageConfig, wanted: Platform, doing: string): Platform {
  const offered = platformOfConfig(image);
  if (offered === undefined) return wanted;
  if (platformMatches(offered, wanted)) return offered;
  throw new LarderError(
    'LARDER_PLATFORM_NOT_FOUND',
    `${doing}: the image is for ${formatPlatform(offered)}, not for ${formatPlatform(wanted)}`,
    {
      hint: `choose with --platform ${formatPlatform(offered)}`,
      details: { wanted: formatPlatform(wanted), there: formatPlatform(offered) },
    },
  );
}

function layersOf(manifest: ImageManifest, image: ImageConfig): ImageLayer[] {
  return manifest.layers.map((layer, i) => {
    const diffId = image.diffIds[i];
    if (diffId === undefined) throw new LarderError('LARDER_INTERNAL', `layer ${layer.digest}: no DiffID`);
    return { diffId, digest: layer.digest, size: layer.size, mediaType: layer.mediaType };
  });
}

function requestOptions({ signal }: PullOptions): RequestOptions {
  return signal === undefined ? {} : { signal };
}
