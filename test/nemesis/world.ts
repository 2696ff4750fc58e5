/** What there is to pull, from a registry, a directory of Appc images and archives; names move while it is pulled. */
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { aciFileName, type BuiltAci, buildAci } from '../../src/testing/aci-builder.js';
import { dockerArchive, ociArchive } from '../../src/testing/archive-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { type ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { MARKER, NOISE, randomOf } from './words.js';

const IMAGES = 6;
const BASES = 3;
/** Two that are built on one. */
const ACIS = 2;

/** The images that there are to pull; their names move, but for those of archives. */
export class World {
  readonly references: readonly string[];
  /** What names of Appc images are sought in. */
  readonly acis: string;
  readonly published = new Set<string>();
  readonly #source: ImageSource;
  readonly #random: (below: number) => number;
  #version = 0;

  constructor(source: ImageSource, directory: string, seed: number) {
    this.#source = source;
    this.#random = randomOf(seed);
    this.acis = `${join(directory, 'acis')}/`;
    this.references = [
      ...Array.from({ length: IMAGES }, (_, i) => `${source.reference(`image${i}`)}:latest`),
      ...Array.from({ length: ACIS }, (_, i) => `appc:${aciName(i)}`),
      ...this.#writeArchives(directory),
    ];
    for (let i = 0; i < IMAGES; i++) this.publish(i);
    this.#writeAci(this.#base);
    for (let i = 0; i < ACIS; i++) this.#publishAci(i);
  }

  /** Layers are shared with other images, and the same again for every second version. */
  publish(i: number = this.#random(IMAGES)): void {
    this.#source.publish(`image${i}`, [base(i), tar([dir('.'), ...this.#next(`image ${i}`)])]);
    if (this.#random(4) === 0) this.#publishAci(this.#random(ACIS));
  }

  /** Each depends on one that lies below it, of which it hides a part. */
  #publishAci(i: number): void {
    const [marker, noise] = this.#content(`aci ${i}`);
    const dependencies = [{ imageName: this.#base.name, ...(i === 0 ? { imageID: this.#base.id } : {}) }];
    const more = i === 0 ? {} : { pathWhitelist: [`/${MARKER}`, `/${NOISE}`] };
    this.#writeAci(buildAci({ name: aciName(i), dependencies, files: { [MARKER]: marker, [NOISE]: noise }, ...more }));
  }

  get #base(): BuiltAci {
    return buildAci({ name: aciName('base'), files: { below: Buffer.alloc(150_000, 'below') } });
  }

  /** Whoever reads one reads it to its end, whatever takes its name meanwhile. */
  #writeAci(aci: BuiltAci): void {
    const path = join(this.acis, aciFileName(aci));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, aci.bytes);
    renameSync(`${path}.new`, path);
  }

  #writeArchives(directory: string): string[] {
    mkdirSync(directory, { recursive: true });
    const image = (name: string): ReturnType<typeof buildImage> =>
      buildImage({
        layers: [base(0), tar([dir('.'), ...this.#next(name)])].map((bytes) => ({ tar: bytes, compression: 'none' })),
      });
    const archives = {
      'docker-archive': dockerArchive([{ image: image('docker archive'), tags: ['nemesis:1'] }]),
      'oci-archive': ociArchive({ nemesis: image('oci archive') }),
    };
    return Object.entries(archives).map(([transport, members]) => {
      const path = join(directory, `${transport}.tar`);
      writeFileSync(path, tar(members));
      return `${transport}:${path}`;
    });
  }

  #next(what: string): Buffer[] {
    const [marker, noise] = this.#content(what);
    return [file(MARKER, marker), file(NOISE, noise)];
  }

  #content(what: string): [Buffer, Buffer] {
    const version = this.#version++ % 40;
    const marker = Buffer.from(`${what} version ${version}\n`);
    const noise = Buffer.concat(Array.from({ length: 1000 }, () => createHash('sha512').update(marker).digest()));
    this.published.add(createHash('sha256').update(marker).update(noise).digest('hex'));
    return [marker, noise];
  }
}

function base(i: number): Buffer {
  return Buffer.from(sampleLayer(`base${i % BASES}`, 150_000));
}

function aciName(which: number | string): string {
  return `example.com/nemesis-${which}`;
}
