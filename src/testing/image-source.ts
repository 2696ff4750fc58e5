/**
 * ▸ A registry with images to pull, for suites that do not care how a registry spells things: images are published by
 * name, requests are told apart by what they ask for, and any of them can be made to fail.
 */
import { createCipheriv, createHash } from 'node:crypto';
import type { Digest } from '../spec/digest.js';
import { type FakeRegistry, type RegistryFault, startRegistry } from './fake-registry.js';
import { type BuiltImage, buildImage, buildIndex, type ImageOptions, type LayerSource } from './image-builder.js';
import { dir, file, tar } from './tar-builder.js';

export type RequestKind = 'manifest' | 'config' | 'layer';

export interface ImageRequest {
  readonly kind: RequestKind;
  /** The tag or digest that was asked for. */
  readonly wanted: string;
  /** First byte that was asked for. */
  readonly offset: number;
}

export type SourceFault = (request: ImageRequest) => RegistryFault | undefined;

export interface PublishOptions extends Omit<ImageOptions, 'layers'> {
  /** Default `latest`. */
  readonly tag?: string;
}

export class ImageSource implements AsyncDisposable {
  readonly registry: FakeRegistry;
  readonly #configs = new Set<string>();

  constructor(registry: FakeRegistry) {
    this.registry = registry;
  }

  static async start(): Promise<ImageSource> {
    return new ImageSource(await startRegistry());
  }

  /** `host:port/name`, to which a tag or digest may be added. */
  reference(name: string): string {
    return `${this.registry.host}/${name}`;
  }

  /** Puts an image of these layers, base first, under the name and tag; a tag that is there moves. */
  publish(name: string, layers: readonly (LayerSource | Uint8Array)[], options: PublishOptions = {}): BuiltImage {
    const { tag, ...rest } = options;
    const image = buildImage({
      ...rest,
      layers: layers.map((layer) => (layer instanceof Uint8Array ? { tar: layer } : layer)),
    });
    this.#add(name, image);
    this.registry.addManifest(name, tag ?? 'latest', image.manifest, image.mediaType);
    return image;
  }

  /** One name for images of several platforms; answers the digest of the image index. */
  publishIndex(name: string, images: readonly BuiltImage[], tag = 'latest'): Digest {
    for (const image of images) this.#add(name, image);
    const { manifest, mediaType } = buildIndex(images);
    return this.registry.addManifest(name, tag, manifest, mediaType);
  }

  /** What was asked for so far, in order; of one kind when it is given. */
  requests(kind?: RequestKind): ImageRequest[] {
    const all = this.registry.requests.map(({ url, headers }) => this.#describe(url, headers.range));
    return all
      .filter((request) => request !== undefined)
      .filter((request) => kind === undefined || request.kind === kind);
  }

  /** What goes wrong from now on; nothing when it is left out. */
  setFault(fault?: SourceFault): void {
    this.registry.setFault(({ url, headers }) => {
      const request = this.#describe(url, headers.range);
      return request === undefined ? undefined : fault?.(request);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry.close();
  }

  #add(name: string, image: BuiltImage): void {
    this.#configs.add(image.configDigest);
    for (const blob of image.blobs) this.registry.addBlob(name, blob);
    // A layer's blob may be a lie about its digest's bytes only by a fault, so all are under their own names.
    this.registry.addManifest(name, undefined, image.manifest, image.mediaType);
  }

  #describe(url: string, range: string | undefined): ImageRequest | undefined {
    const [, kind, wanted = ''] = /\/(manifests|blobs)\/([^/?]+)$/.exec(url) ?? [];
    if (kind === undefined) return undefined;
    const offset = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
    if (kind === 'manifests') return { kind: 'manifest', wanted, offset };
    return { kind: this.#configs.has(wanted) ? 'config' : 'layer', wanted, offset };
  }
}

/** A layer with one file of the layer's name, and so many bytes beside it that no compression makes smaller. */
export function sampleLayer(name: string, bytes = 0): Buffer {
  const noise = bytes === 0 ? [] : [file(`${name}.noise`, noiseOf(name, bytes))];
  return tar([dir('.'), file(name, `this is ${name}\n`), ...noise]);
}

function noiseOf(name: string, bytes: number): Buffer {
  const key = createHash('sha256').update(name).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}
