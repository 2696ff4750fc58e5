/** What there is to pull. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { imageKeyOf } from '../../src/spec/any-image.js';
import { digestOf } from '../../src/spec/digest.js';
import { aciFileName, type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { dockerArchive, ociArchive } from '../../src/testing/archive-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { type ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { FIRST_LIVES, type Life, Planner } from './planner.js';

/** One thing that a reference may mean. */
export interface Version {
  /** As it is given to `pull`. */
  readonly reference: string;
  /** As it is recorded. */
  readonly canonical: string;
  /** DiffIDs, base first. */
  readonly layers: readonly string[];
  /** A file of its own and what is in it. */
  readonly path: string;
  readonly text: string;
  /** Of its manifest, where it comes from a registry. */
  readonly digest?: string;
}

const MARKER = 'etc/version';

export class World {
  readonly acis: string;
  /** What comes along with other images, and may go before them or stay. */
  readonly dependencies: Version[] = [];
  readonly #source: ImageSource;
  readonly #directory: string;
  readonly #publish = new Map<Version, () => void>();
  /** Of each reference, what it may come to mean. */
  readonly #versions: readonly (readonly Version[])[];

  constructor(source: ImageSource, directory: string) {
    this.#source = source;
    this.#directory = directory;
    this.acis = `${join(directory, 'acis')}/`;
    const a = [1, 2, 3].map((n) => this.#docker('a', n, 30_000));
    const b = [1, 2].map((n) => this.#docker('b', n, 250_000));
    const c = [1].map((n) => this.#docker('c', n, 1_500_000));
    this.#versions = [a, b, c, [this.#aci()], ...this.#archives().map((one) => [one])];
  }

  get versions(): readonly Version[] {
    return this.#versions.flat();
  }

  publish(version: Version): void {
    this.#publish.get(version)?.();
  }

  /** Everything once, and then lives at random. */
  lives(count: number, seed: number): Life[] {
    const planner = new Planner(this.#versions, seed);
    return Array.from({ length: count }, (_, i) => (i < FIRST_LIVES ? planner.first(i) : planner.random()));
  }

  /** Three layers, of which all images share the lowest. */
  #docker(name: string, n: number, bytes: number): Version {
    const text = `${name} version ${n}\n`;
    const layers = [
      sampleLayer('base', 150_000),
      sampleLayer(`middle of ${name}`, bytes),
      tar([
        dir('etc'),
        file(MARKER, text),
        file('etc/odd', Buffer.alloc(5000 + n, text)),
        whiteout('base'),
        symlink('l', MARKER),
      ]),
    ];
    const image = buildImage({ layers: layers.map((bytes_) => ({ tar: bytes_ })) });
    const reference = `${this.#source.reference(name)}:latest`;
    const diffIds = image.layers.map(({ diffId }) => diffId);
    const version = { ...versionOf(reference, diffIds, text), digest: image.digest };
    this.#publish.set(version, () => void this.#source.publish(name, layers));
    return version;
  }

  #aci(): Version {
    const below = buildAci({ name: 'example.com/below', files: { below: Buffer.alloc(90_000, 'below') } });
    const text = 'aci version 1\n';
    const top = buildAci({
      name: 'example.com/top',
      dependencies: [{ imageName: below.name, imageID: below.id }],
      files: { [MARKER]: text },
    });
    this.dependencies.push(versionOf(`appc:${below.name}@${below.id}`, [diffIdOf(below)], ''));
    for (const aci of [below, top]) this.#write(join('acis', aciFileName(aci)), aci.bytes);
    return versionOf(`appc:${top.name}`, [below, top].map(diffIdOf), text);
  }

  #archives(): Version[] {
    const of = (text: string) =>
      buildImage({
        layers: [sampleLayer('base', 150_000), tar([dir('etc'), file(MARKER, text)])].map((bytes) => ({
          tar: bytes,
          compression: 'none',
        })),
      });
    const [docker, oci] = [of('docker archive\n'), of('oci archive\n')];
    this.#write('docker.tar', tar(dockerArchive([{ image: docker, tags: ['power:1'] }])));
    this.#write('oci.tar', tar(ociArchive({ power: oci })));
    return [
      versionOf(
        `docker-archive:${join(this.#directory, 'docker.tar')}`,
        docker.layers.map(({ diffId }) => diffId),
        'docker archive\n',
      ),
      versionOf(
        `oci-archive:${join(this.#directory, 'oci.tar')}`,
        oci.layers.map(({ diffId }) => diffId),
        'oci archive\n',
      ),
    ];
  }

  #write(name: string, bytes: Uint8Array): void {
    const path = join(this.#directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
}

function versionOf(reference: string, layers: readonly string[], text: string): Version {
  return { reference, canonical: imageKeyOf(reference, '/', undefined).reference, layers, path: MARKER, text };
}

function diffIdOf({ tar: bytes }: BuiltAci): string {
  return digestOf(bytes);
}
