/**
 * Bits of a store that are turned over, one at a time in a file, at places that a seed chooses; what `check --deep` says
 * of them, what heals them, and what became of everything else. The database is a case of its own (test/metadata/rebuild).
 */
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { Finding } from '../../src/check.js';
import { type Larder, openLarder } from '../../src/index.js';
import { digestOf, hexOf } from '../../src/spec/digest.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

export interface HealingReport {
  /** How many bits were turned over, by what they were in. */
  readonly flips: Readonly<Record<string, number>>;
  /** Files that were damaged and that `check --deep` did not name. */
  readonly missed: readonly string[];
  /** Findings about what was whole. */
  readonly falseAlarms: readonly string[];
  /** Files that were not what they were before, after the healing; findings that were left. */
  readonly notHealed: readonly string[];
  /** Files that nobody had damaged, and that were written all the same. */
  readonly touched: readonly string[];
  /** How many were healed by a pull of their image, and by `repair`. */
  readonly healedBy: { pull: number; repair: number };
}

interface StoredFile {
  readonly sha256: string;
  /** Of the bytes on the disk: another one was written. */
  readonly mark: string;
}

const IN_A_ROUND = 10;
const IMAGES = ['a', 'b', 'other', 'odd'];

export async function runHealing({ flips, seed }: { flips: number; seed: number }): Promise<HealingReport> {
  const directory = makeDirectory();
  await using source = await ImageSource.start();
  publish(source);
  try {
    await using larder = await openLarder({ root: join(directory, 'store') });
    return await new Healing(source, larder, seed).run(flips);
  } finally {
    removeDirectory(directory);
  }
}

function publish(source: ImageSource): void {
  source.publish('a', [sampleLayer('base', 60_000), sampleLayer('a', 30_000)]);
  source.publish('b', [sampleLayer('base', 60_000), tar([dir('b'), file('b/file', 'b\n'.repeat(5000))])]);
  source.publish('other', [sampleLayer('other', 9000)]);
  // Padding that is not zero: the file goes to layer.extra.
  const odd = file('odd', 'odd padding behind this');
  odd.fill(0xff, 512 + 23);
  source.publish('odd', [tar([odd])]);
}

class Healing {
  readonly #source: ImageSource;
  readonly #larder: Larder;
  readonly #seed: number;
  readonly #flips: Record<string, number> = {};
  readonly #report = {
    missed: [] as string[],
    falseAlarms: [] as string[],
    notHealed: [] as string[],
    touched: [] as string[],
    healedBy: { pull: 0, repair: 0 },
  };

  constructor(source: ImageSource, larder: Larder, seed: number) {
    this.#source = source;
    this.#larder = larder;
    this.#seed = seed;
  }

  async run(flips: number): Promise<HealingReport> {
    await this.#pullAll();
    // What is derived for one image as a whole.
    for (const name of IMAGES) await this.#read(name);
    const said = await this.#findings();
    this.#report.falseAlarms.push(...said.map((finding) => `untouched: ${textOf(finding)}`));
    for (let round = 0, left = flips; left > 0; round++) left -= await this.#round(round, Math.min(left, IN_A_ROUND));
    return { flips: this.#flips, ...this.#report };
  }

  /** How many bits were turned over. */
  async #round(round: number, wanted: number): Promise<number> {
    // A pull looks at what it answers with: layers and documents. The rest is looked at when it is used, and by repair.
    const heal = round % 2 === 0 ? 'repair' : 'pull';
    const before = this.#files();
    const open = [...before.keys()].filter((path) => heal === 'repair' || /^(?:layers|blobs)\//.test(path));
    const hurt = this.#choose(open, wanted, round);
    const subjects = new Map([...hurt].map((path) => [path, this.#subjectOf(path)]));
    for (const path of hurt) this.#flip(path, round);
    const said = new Set((await this.#findings()).map(({ subject }) => subject));
    for (const [path, subject] of subjects) if (!said.has(subject)) this.#report.missed.push(`${round}: ${path}`);
    const expected = new Set(subjects.values());
    for (const subject of said) {
      if (!expected.has(subject)) this.#report.falseAlarms.push(`${round}: ${subject}`);
    }
    if (heal === 'pull') await this.#pullAll();
    else
      for await (const { outcome, subject, message } of this.#larder.repair()) {
        if (outcome === 'failed') this.#report.notHealed.push(`${round}: ${subject}: ${message}`);
      }
    this.#report.healedBy[heal] += hurt.size;
    await this.#compare(round, before, hurt);
    return hurt.size;
  }

  async #compare(round: number, before: ReadonlyMap<string, StoredFile>, hurt: ReadonlySet<string>): Promise<void> {
    const after = this.#files();
    for (const path of new Set([...before.keys(), ...after.keys()])) {
      const [was, is] = [before.get(path), after.get(path)];
      // The time of use is in it.
      const isName = path.startsWith('metadata/names/');
      if (was?.sha256 !== is?.sha256 && !isName) this.#report.notHealed.push(`${round}: ${path}: not what it was`);
      if (was?.mark !== is?.mark && !this.#mayChange(path, hurt)) this.#report.touched.push(`${round}: ${path}`);
    }
    for (const finding of await this.#findings()) this.#report.notHealed.push(`${round}: ${textOf(finding)}`);
  }

  /** The file, what is made with it (a layer's index with its tar), and the name of an image that was pulled for it. */
  #mayChange(path: string, hurt: ReadonlySet<string>): boolean {
    if (hurt.has(path)) return true;
    if (kindOf(path) !== 'name')
      return [...hurt].some((one) => layerOf(one) !== undefined && layerOf(one) === layerOf(path));
    const name = this.#imageNamed(basename(path));
    const image = this.#larder.images().find(({ reference, platform }) => name === `${reference} ${platform}`);
    const parts = [image?.digest, image?.manifest, image?.config, ...(image?.layers ?? []).map(({ diffId }) => diffId)];
    return [...hurt].some((one) => parts.some((part) => part === this.#subjectOf(one)));
  }

  async #pullAll(): Promise<void> {
    for (const name of IMAGES) await (await this.#larder.pull(this.#source.reference(name)))[Symbol.asyncDispose]();
  }

  async #read(name: string): Promise<void> {
    await using image = await this.#larder.open(this.#source.reference(name));
    await image.fs.readdir('/');
  }

  async #findings(): Promise<Finding[]> {
    const all: Finding[] = [];
    for await (const finding of this.#larder.check({ deep: true })) all.push(finding);
    return all;
  }

  /** Everything of the store that is said once and for all, by its path in it. */
  #files(): Map<string, StoredFile> {
    const { root } = this.#larder;
    const folders = ['layers', 'blobs', 'derived', 'metadata/names'];
    const paths = folders.flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(root, folder, name)),
    );
    const files = paths.filter((path) => lstatSync(path).isFile() && !path.endsWith('.lock')).sort();
    return new Map(
      files.map((path) => {
        const { ino, mtimeMs } = statSync(path);
        const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex');
        return [relative(root, path), { sha256, mark: `${ino} ${mtimeMs}` }];
      }),
    );
  }

  #choose(paths: readonly string[], wanted: number, round: number): ReadonlySet<string> {
    const chosen = new Set<string>();
    for (let i = 0; chosen.size < Math.min(wanted, paths.length); i++) {
      chosen.add(paths[this.#random(`${round} ${i}`, paths.length)] ?? '');
    }
    return chosen;
  }

  #flip(path: string, round: number): void {
    const full = join(this.#larder.root, path);
    const { mode } = statSync(full);
    const bytes = readFileSync(full);
    const at = this.#random(`${round} ${path} byte`, bytes.length);
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << this.#random(`${round} ${path} bit`, 8)), at);
    chmodSync(full, 0o600);
    writeFileSync(full, bytes);
    chmodSync(full, mode & 0o777);
    const kind = kindOf(path);
    this.#flips[kind] = (this.#flips[kind] ?? 0) + 1;
  }

  /** What a finding about the file names. */
  #subjectOf(path: string): string {
    const directory = basename(dirname(path));
    const name = basename(path);
    switch (kindOf(path)) {
      case 'tar':
        return `sha256:${directory}`;
      case 'document':
        return `sha256:${name}`;
      case 'index':
      case 'extra':
        return `${name} of sha256:${directory}`;
      case 'merged image':
        return `merged image ${name.replace('.erofs', '')}`;
      default:
        return `name of ${this.#imageNamed(name)}`;
    }
  }

  #imageNamed(name: string): string {
    const image = this.#larder
      .images()
      .find(
        ({ type, reference, platform }) =>
          name === `${hexOf(digestOf(Buffer.from(`${type}\n${reference}\n${platform}`)))}.json`,
      );
    if (image === undefined) throw new Error(`${name}: the name of no image`);
    return `${image.reference} ${image.platform}`;
  }

  /** Less than `below`. */
  #random(what: string, below: number): number {
    return createHash('sha256').update(`${this.#seed} ${what}`).digest().readUInt32LE(0) % below;
  }
}

function kindOf(path: string): string {
  if (path.endsWith('layer.tar')) return 'tar';
  if (path.startsWith('blobs/')) return 'document';
  if (path.endsWith('/index')) return 'index';
  if (path.endsWith('/layer.extra')) return 'extra';
  if (path.endsWith('.erofs')) return 'merged image';
  if (path.startsWith('metadata/names/')) return 'name';
  throw new Error(`${path}: unknown`);
}

/** Its directory's name. */
function layerOf(path: string): string | undefined {
  return /\/([0-9a-f]{64})\/(?:layer\.tar|index|layer\.extra)$/.exec(path)?.[1];
}

function textOf({ kind, invariant, subject, message }: Finding): string {
  return `${kind} (${invariant}): ${subject}: ${message}`;
}
