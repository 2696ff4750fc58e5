/**
 * Images for the conformance suites as Appc has them: each layer is an ACI, and the last one, which has the name, depends
 * on those below it by their ids. They are under names that the suites' registry takes for tags, so that its faults work.
 */
import { digestOf } from '../../src/spec/digest.js';
import type { AppcImage } from '../../src/spec/image.js';
import { aciFileName, type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { type BuiltImage, buildImage, type LayerSource } from '../../src/testing/image-builder.js';
import {
  type ImageRequest,
  ImageSource,
  type PublishOptions,
  type RequestKind,
  type SourceFault,
} from '../../src/testing/image-source.js';

const BLOCK = 512;

export class AciSource extends ImageSource {
  /** By the tag that an ACI is under, the digest that the suites know it by. */
  readonly #tags = new Map<string, string>();
  readonly #ids = new Map<string, string>();

  static override async start(): Promise<AciSource> {
    return new AciSource(await startRegistry());
  }

  override reference(name: string): string {
    return `appc:${nameOf(name)}`;
  }

  get prefix(): string {
    return `${this.registry.url}/v2/`;
  }

  override publish(
    name: string,
    layers: readonly (LayerSource | Uint8Array)[],
    { tag = 'latest' }: PublishOptions = {},
  ): BuiltImage {
    const tars = layers.map((layer) => (layer instanceof Uint8Array ? layer : Buffer.from(layer.tar ?? '')));
    const below = tars.slice(0, -1).map((tar) => aciOf(`layer-${digestOf(tar).slice(7, 23)}`, 'latest', tar, []));
    const acis = [...below, aciOf(name, tag, tars.at(-1) ?? Buffer.alloc(0), below)];
    const image = buildImage({ layers: acis.map((aci) => ({ tar: aci.tar })) });
    for (const [i, aci] of acis.entries()) this.#add(aci, image.layers[i]?.digest ?? '');
    this.#ids.set(image.digest, acis.at(-1)?.id ?? '');
    return image;
  }

  /** One that has `tar` and needs others by their names. */
  publishDependent(name: string, needs: readonly string[], tar: Uint8Array): void {
    const aci = aciOf(
      name,
      'latest',
      tar,
      needs.map((need) => ({ name: nameOf(need) })),
    );
    this.#add(aci, aci.id);
  }

  image(name: string, { tag, ...options }: { tag?: string; cached?: boolean; platform?: string } = {}): AppcImage {
    const id = tag?.startsWith('@') === true ? this.#ids.get(tag.slice(1)) : undefined;
    const labels = tag === undefined || id !== undefined ? {} : { labels: { version: tag } };
    return { type: 'appc', name: nameOf(name), ...labels, ...(id === undefined ? {} : { id }), ...options };
  }

  /** All are requests of layers. */
  override requests(kind?: RequestKind): ImageRequest[] {
    if (kind !== undefined && kind !== 'layer') return [];
    return this.registry.requests.map(({ url }) => this.#layerAt(url));
  }

  override setFault(fault?: SourceFault): void {
    this.registry.setFault(({ url }) => fault?.(this.#layerAt(url)));
  }

  #layerAt(url: string): ImageRequest {
    return { kind: 'layer', wanted: this.#tags.get(url.split('/').at(-1) ?? '') ?? '', offset: 0 };
  }

  #add(aci: BuiltAci, digest: string): void {
    const [repository = '', tag = ''] = aciFileName(aci).split('/manifests/');
    this.#tags.set(tag, digest);
    this.registry.addManifest(repository, tag, aci.bytes, 'application/vnd.appc.aci');
  }
}

type Needed = Pick<BuiltAci, 'name'> & Partial<Pick<BuiltAci, 'id' | 'labels'>>;

function aciOf(name: string, version: string, layer: Uint8Array, needs: readonly Needed[]): BuiltAci {
  return buildAci({
    name: nameOf(name),
    labels: { version },
    dependencies: needs.map((need) => ({
      imageName: need.name,
      ...(need.id === undefined ? {} : { imageID: need.id, labels: need.labels ?? {} }),
    })),
    entries: [belowRootfs(layer)],
  });
}

function nameOf(name: string): string {
  return `suite.example/${name.toLowerCase()}/manifests/${name.toLowerCase()}`;
}

/** The entries of a tar with short names, each below `rootfs/`. */
export function belowRootfs(tar: Uint8Array): Buffer {
  const bytes = Buffer.from(tar);
  let end = 0;
  while (end + BLOCK <= bytes.length && bytes[end] !== 0) {
    const header = bytes.subarray(end, end + BLOCK);
    const name = header.toString('latin1', 0, 100).replace(/\0.*$/s, '');
    header.fill(0, 0, 100);
    header.write(`rootfs/${name === '.' || name === './' ? '' : name}`, 0, 'latin1');
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const size = Number.parseInt(header.toString('latin1', 124, 136), 8);
    end += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return bytes.subarray(0, end);
}
