/**
 * What there is to pull, and a plan of what is done with it: lives of processes, one after the other, each with a few
 * steps. The same seed plans the same.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { imageKeyOf } from '../../src/spec/any-image.js';
import { digestOf } from '../../src/spec/digest.js';
import { aciFileName, type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { dockerArchive, ociArchive } from '../../src/testing/archive-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { type ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, symlink, tar, whiteout } from '../../src/testing/tar-builder.js';
import { randomOf } from '../nemesis/words.js';

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
}

export type Step =
  | { readonly op: 'pull'; readonly version: Version; readonly cached: boolean }
  | { readonly op: 'remove'; readonly version: Version }
  | { readonly op: 'provision'; readonly id: string; readonly version: Version; readonly backend: Backend }
  | { readonly op: 'destroy'; readonly id: string }
  /** What no container uses is gone after it. */
  | { readonly op: 'prune' | 'gc'; readonly gone: readonly Version[] }
  | { readonly op: 'recover'; readonly known: readonly string[] };

export type Backend = 'erofs' | 'overlay' | 'copy' | 'bind';

export interface Life {
  /** The database is damaged before it. */
  readonly damaged: boolean;
  readonly publish: readonly Version[];
  readonly steps: readonly Step[];
  /** It does not close the store. */
  readonly killed: boolean;
}

/** How many lives show everything once; the ones after it are random. */
export const FIRST_LIVES = 8;
const BACKENDS = ['erofs', 'erofs', 'overlay', 'copy', 'bind'] as const;
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
    const version = versionOf(
      reference,
      image.layers.map(({ diffId }) => diffId),
      text,
    );
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

/** Knows what the store has after each step, so that no step fails and each one's outcome is known before it begins. */
class Planner {
  readonly #versions: readonly (readonly Version[])[];
  readonly #random: (below: number) => number;
  /** What the references that are published at all mean in the registry. */
  readonly #published = new Map<string, Version>();
  readonly #stored = new Map<string, Version>();
  readonly #containers = new Map<string, Version>();
  /** What a reference means all through the life that is planned. */
  readonly #meant = new Map<string, Version>();
  #publish: Version[] = [];
  #made = 0;

  constructor(versions: readonly (readonly Version[])[], seed: number) {
    this.#versions = versions;
    this.#random = randomOf(seed);
  }

  first(i: number): Life {
    const [a1, a2] = this.#versions[0] ?? [];
    const [b1] = this.#versions[1] ?? [];
    const [c1] = this.#versions[2] ?? [];
    const [aci, docker, oci] = this.#versions.slice(3).flat();
    if (!a1 || !a2 || !b1 || !c1 || !aci || !docker || !oci) throw new Error('an image is missing');
    const lives: readonly (() => readonly Step[])[] = [
      () => [this.#pull(a1), this.#pull(b1)],
      () => [this.#pull(docker), this.#pull(aci), this.#pull(oci)],
      () => [this.#provision(a1, 'erofs'), this.#provision(b1, 'overlay'), this.#pull(a2)],
      () => [this.#provision(docker, 'copy'), this.#destroy('c0'), this.#remove(oci)],
      () => [this.#recover(), this.#pull(c1), this.#prune('prune')],
      () => [this.#pull(aci), this.#provision(aci, 'erofs'), this.#destroy('c1')],
      () => [this.#prune('gc'), this.#pull(b1), this.#pull(oci)],
      () => [this.#destroy('c2'), this.#remove(b1), this.#pull(c1), this.#pull(a1)],
    ];
    return this.#life(lives[i]?.() ?? [], i === 5, i === 2 || i === 6);
  }

  random(): Life {
    const steps = Array.from({ length: 2 + this.#random(3) }, () => this.#anything());
    return this.#life(steps, this.#random(12) === 0, this.#random(3) === 0);
  }

  #life(steps: readonly Step[], damaged: boolean, killed: boolean): Life {
    const publish = this.#publish;
    this.#publish = [];
    this.#meant.clear();
    return { damaged, publish, steps, killed };
  }

  #anything(): Step {
    const dice = this.#random(20);
    const stored = [...this.#stored.values()];
    const free = stored.filter((one) => !this.#isUsed(one));
    const ids = [...this.#containers.keys()];
    if (dice < 4 && stored.length > 0 && ids.length < 3) {
      return this.#provision(this.#one(stored), this.#one(BACKENDS));
    }
    if (dice < 7 && ids.length > 0) return this.#destroy(this.#one(ids));
    if (dice < 10 && free.length > 0) return this.#remove(this.#one(free));
    if (dice < 12) return this.#prune(dice === 10 ? 'prune' : 'gc');
    if (dice < 13) return this.#recover();
    return this.#pull(this.#one(this.#one(this.#versions)));
  }

  #one<T>(all: readonly T[]): T {
    const found = all[this.#random(all.length)];
    if (found === undefined) throw new Error('nothing to choose from');
    return found;
  }

  /** The tag moves before a life, and not in it. */
  #pull(wanted: Version): Step {
    const { reference } = wanted;
    const version = this.#meant.get(reference) ?? wanted;
    this.#meant.set(reference, version);
    if (this.#published.get(reference) !== version) this.#publish.push(version);
    this.#published.set(reference, version);
    const cached = this.#stored.get(reference) === version;
    this.#stored.set(reference, version);
    return { op: 'pull', version, cached };
  }

  #provision(wanted: Version, backend: Backend): Step {
    const version = this.#stored.get(wanted.reference) ?? wanted;
    const id = `c${this.#made++}`;
    this.#containers.set(id, version);
    return { op: 'provision', id, version, backend };
  }

  #destroy(id: string): Step {
    this.#containers.delete(id);
    return { op: 'destroy', id };
  }

  #remove(version: Version): Step {
    this.#stored.delete(version.reference);
    return { op: 'remove', version };
  }

  #prune(op: 'prune' | 'gc'): Step {
    const gone = [...this.#stored.values()].filter((one) => !this.#isUsed(one));
    for (const { reference } of gone) this.#stored.delete(reference);
    return { op, gone };
  }

  #recover(): Step {
    return { op: 'recover', known: [...this.#containers.keys()] };
  }

  #isUsed({ reference }: Version): boolean {
    return [...this.#containers.values()].some((one) => one.reference === reference);
  }
}
