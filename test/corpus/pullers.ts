/** ▸ The ways by which an image reaches a store: each publishes a case and answers the reference to pull. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { digestOf } from '../../src/spec/digest.js';
import { OCI_INDEX } from '../../src/spec/media-types.js';
import { aciFileName, buildAci } from '../../src/testing/aci-builder.js';
import { dockerArchive, ociArchive } from '../../src/testing/archive-builder.js';
import { type FakeRegistry, startRegistry } from '../../src/testing/fake-registry.js';
import { type BuiltImage, buildImage, type LayerSource } from '../../src/testing/image-builder.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import type { Documents, FileCase, LayerCase, Scene } from './case.js';

export const PULLERS = ['registry', 'docker-archive', 'oci', 'oci-archive', 'directory', 'appc'] as const;
export type Puller = (typeof PULLERS)[number];

const LABELS = { version: '1' };

export class Sources implements AsyncDisposable {
  readonly directory: string;
  readonly registry: FakeRegistry;
  readonly #victim: string;
  #number = 0;

  private constructor(directory: string, victim: string, registry: FakeRegistry) {
    this.directory = directory;
    this.#victim = victim;
    this.registry = registry;
  }

  /** `directory` is there already, and is the caller's. */
  static async open(directory: string, victim: string): Promise<Sources> {
    for (const name of ['acis', 'archives']) mkdirSync(join(directory, name));
    return new Sources(directory, victim, await startRegistry());
  }

  /** What the settings `appc_simple_discovery_uri_prefix` and `docker_registry` must be. */
  get acis(): string {
    return `${join(this.directory, 'acis')}/`;
  }
  get archives(): string {
    return `${join(this.directory, 'archives')}/`;
  }

  scene(puller: Puller): Scene {
    return { victim: this.#victim, at: (path) => (puller === 'appc' ? `rootfs/${path}` : path) };
  }

  /** By which pullers a case can come. */
  pullersOf(one: LayerCase): readonly Puller[] {
    return PULLERS.filter((puller) => puller !== 'appc' || one.noAci !== true);
  }

  layers(one: LayerCase, puller: Puller): string {
    const tars = one.layers(this.scene(puller));
    if (puller === 'appc') return this.#aci(tars[0] ?? Buffer.alloc(0));
    const image = imageOf(one, tars, puller === 'docker-archive' || puller === 'directory');
    switch (puller) {
      case 'registry':
        return this.#registry({ ...image });
      case 'oci':
        return this.#oci(ociArchive({ '': image }));
      case 'oci-archive':
        return this.#archive('oci-archive', ociArchive({ '': image }));
      case 'docker-archive':
        return this.#archive('docker-archive', dockerArchive([{ image }]));
      case 'directory':
        return this.#inDirectory(dockerArchive([{ image }]));
    }
  }

  documents(documents: Documents, puller: 'registry' | 'oci' | 'oci-archive'): string {
    if (puller === 'registry') return this.#registry(documents);
    const members = layoutOf(documents);
    return puller === 'oci' ? this.#oci(members) : this.#archive('oci-archive', members);
  }

  file(one: FileCase, puller: Puller): string {
    const members = one.members(this.scene(puller));
    if (puller === 'directory') return this.#inDirectory(members);
    if (one.transport === 'appc') return this.#aciFile(Buffer.concat(members), 'example.com/file');
    return one.transport === 'oci' ? this.#oci(members) : this.#archive(one.transport, members);
  }

  /** For umoci: `LAYOUT:case`. */
  layout(one: LayerCase): string {
    return `${this.#oci(this.#layoutOf(one)).slice('oci:'.length)}:case`;
  }

  /** For containerd: an archive of the same, whose image is called `case`. */
  archive(one: LayerCase): string {
    return this.#archive('oci-archive', this.#layoutOf(one)).slice('oci-archive:'.length);
  }

  #layoutOf(one: LayerCase): readonly Uint8Array[] {
    return ociArchive({ case: imageOf(one, one.layers(this.scene('oci')), false) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]();
  }

  #registry({ manifest, mediaType, blobs, manifests = [] }: Documents): string {
    const name = `case${this.#number++}`;
    for (const each of manifests) this.registry.addManifest(name, undefined, each.manifest, each.mediaType);
    this.registry.addImage({ name, manifest, mediaType, blobs });
    return `${this.registry.host}/${name}`;
  }

  #archive(transport: 'docker-archive' | 'oci-archive', members: readonly Uint8Array[]): string {
    return `${transport}:${this.#write(`${this.#number++}.tar`, tar(members))}`;
  }

  #inDirectory(members: readonly Uint8Array[]): string {
    const name = `case${this.#number++}`;
    this.#write(`archives/${name}.tar`, tar(members));
    return name;
  }

  /** Unpacked by a program that every machine has, links and FIFOs too. */
  #oci(members: readonly Uint8Array[]): string {
    const layout = join(this.directory, `layout${this.#number++}`);
    mkdirSync(layout);
    execFileSync('tar', ['-xf', '-', '-C', layout], { input: tar(members), stdio: ['pipe', 'ignore', 'pipe'] });
    return `oci:${layout}`;
  }

  /** The tar's bytes as they are, behind what every ACI has. */
  #aci(bytes: Uint8Array): string {
    const name = `example.com/case${this.#number++}`;
    const archive = (manifest: Uint8Array) => [file('manifest', manifest), dir('rootfs'), bytes];
    return this.#aciFile(buildAci({ name, labels: LABELS, archive }).bytes, name);
  }

  #aciFile(bytes: Uint8Array, name: string): string {
    this.#write(`acis/${aciFileName({ name, labels: LABELS })}`, bytes);
    return `appc:${name}:1`;
  }

  #write(name: string, bytes: Uint8Array): string {
    const path = join(this.directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    return path;
  }
}

/** `docker save` does not compress; what a case says of its blob stays. */
function imageOf(one: LayerCase, tars: readonly Uint8Array[], plain: boolean): BuiltImage {
  const layers = tars.map((bytes, i): LayerSource => {
    if (one.blob === undefined || i < tars.length - 1) return { tar: bytes, compression: plain ? 'none' : 'gzip' };
    const blob = one.blob(bytes);
    return { tar: bytes, blob: blob.bytes, compression: blob.compression };
  });
  return buildImage({ layers });
}

function layoutOf({ manifest, mediaType, blobs, manifests = [] }: Documents): Buffer[] {
  const all = [...blobs, ...manifests.map((each) => each.manifest), manifest];
  const top = { mediaType, digest: digestOf(manifest), size: manifest.length };
  return [
    ...all.map((bytes) => file(`blobs/${digestOf(bytes).replace(':', '/')}`, bytes)),
    file('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' })),
    file('index.json', JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [top] })),
  ];
}
