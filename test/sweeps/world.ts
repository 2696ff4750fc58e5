/** Images of one type to pull, and stores to start from, which are copied for each point. */
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildAci, writeAciDirectory } from '../../src/testing/aci-builder.js';
import { dockerArchive } from '../../src/testing/archive-builder.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { dir, file, hardlink, symlink, tar } from '../../src/testing/tar-builder.js';
import { mountsBelow } from '../e2e/larder.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { type Names, openSwept, type Template } from './operations.js';

export type StoreType = 'docker' | 'appc';

const LAYERS_OF_ONE = 100;

/** What is not written takes no memory. */
const DISK_BYTES = 4 * 1024 ** 3;

export class World implements AsyncDisposable {
  readonly #temporary: string;
  readonly directory: string;
  readonly root: string;
  /** Copies of the store at points of one run. */
  readonly states: string;
  readonly exports: string;
  readonly type: StoreType;
  readonly names: Names;
  readonly #source: ImageSource;

  constructor(type: StoreType, source: ImageSource, temporary: string) {
    const directory = join(temporary, 'disk');
    mkdirSync(directory);
    useMemory(directory);
    this.#temporary = temporary;
    this.type = type;
    this.#source = source;
    this.directory = directory;
    this.root = join(directory, 'store');
    this.states = join(directory, 'states');
    this.exports = join(directory, 'exports');
    this.names = type === 'docker' ? publishDocker(source, directory) : publishAppc(directory);
  }

  static async make(type: StoreType): Promise<World> {
    const world = new World(type, await ImageSource.start(), makeDirectory());
    await world.#make('kept', [world.names.kept]);
    await world.#make('full', [world.names.kept, world.names.app]);
    const damaged = world.#template('damaged');
    spawnSync('cp', ['-a', world.#template('full'), damaged]);
    damage(damaged);
    const unreadable = world.#template('unreadable');
    spawnSync('cp', ['-a', world.#template('full'), unreadable]);
    writeFileSync(join(unreadable, 'metadata', 'larder.db'), 'this is no database');
    if (type === 'docker') await world.#makeMoved();
    return world;
  }

  /** From now on there are that many layers more in the store that has one image. */
  async addLayers(count: number): Promise<void> {
    const references: string[] = [];
    for (let first = 0; first < count; first += LAYERS_OF_ONE) {
      const numbers = Array.from({ length: Math.min(LAYERS_OF_ONE, count - first) }, (_, i) => first + i);
      this.#source.publish(
        `many-${first}`,
        numbers.map((i) => sampleLayer(`layer-${i}`)),
      );
      references.push(`${this.#source.reference(`many-${first}`)}:latest`);
    }
    await this.#make('kept', references);
  }

  /** How often a layer was asked for. */
  get layerRequests(): number {
    return this.#source.requests('layer').length;
  }

  /** The store becomes what the template is. */
  reset(template: Template): void {
    this.#become(template === 'nothing' ? undefined : this.#template(template));
  }

  /** The store becomes what {@link states} has of it: what it was in front of that call. */
  restore(at: number): void {
    const state = join(this.states, String(at));
    this.#become(existsSync(state) ? state : undefined);
    rmSync(state, { recursive: true, force: true });
  }

  #become(from: string | undefined): void {
    for (const mount of mountsBelow(this.root).reverse()) spawnSync('umount', ['-l', mount]);
    if (mountsBelow(this.root).length > 0) throw new Error(`${this.root}: something is still mounted`);
    rmSync(this.root, { recursive: true, force: true });
    rmSync(this.exports, { recursive: true, force: true });
    mkdirSync(this.exports);
    if (from !== undefined) spawnSync('cp', ['-a', from, this.root]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source[Symbol.asyncDispose]();
    removeDirectory(this.#temporary);
  }

  #template(name: Template): string {
    return join(this.directory, `template-${name}`);
  }

  /** The tag meant one image, then another. */
  async #makeMoved(): Promise<void> {
    const { moved } = this.names;
    await this.#make('moved', [this.names.kept, moved]);
    this.#source.publish('moved', [sampleLayer('after')]);
    await using larder = await openSwept(this.#template('moved'), this.names);
    await (await larder.pull(moved, { cached: false }))[Symbol.asyncDispose]();
  }

  async #make(template: Template, references: readonly string[]): Promise<void> {
    {
      await using larder = await openSwept(this.#template(template), this.names);
      for (const reference of references) await (await larder.pull(reference))[Symbol.asyncDispose]();
    }
  }
}

/**
 * A file system of its own that waits for no disk, of the kind that EROFS mounts files of; without loop devices the one
 * of the temporary files.
 */
function useMemory(directory: string): void {
  const disk = join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), `larder-sweep-${randomUUID()}`);
  try {
    writeFileSync(disk, '');
    truncateSync(disk, DISK_BYTES);
    // A journal is for power cuts, of which there are none here.
    if (spawnSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', disk]).status !== 0) return;
    spawnSync('mount', ['-o', 'loop', disk, directory]);
  } finally {
    rmSync(disk, { force: true });
  }
}

function publishDocker(source: ImageSource, directory: string): Names {
  const base = sampleLayer('base', 40_000);
  const layers = [base, topLayer()];
  source.publish('kept', [base, sampleLayer('own')]);
  source.publish('app', layers);
  source.publish('large', [sampleLayer('large', LARGE_BYTES)]);
  source.publish('moved', [sampleLayer('before')]);
  const archive = join(directory, 'app.tar');
  const image = buildImage({ layers: layers.map((bytes) => ({ tar: bytes, compression: 'none' })) });
  writeFileSync(archive, tar(dockerArchive([{ image, tags: ['app:1'] }])));
  return {
    acis: `${directory}/`,
    kept: `${source.reference('kept')}:latest`,
    app: `${source.reference('app')}:latest`,
    archive: `docker-archive:${archive}`,
    large: `${source.reference('large')}:latest`,
    moved: `${source.reference('moved')}:latest`,
    exports: join(directory, 'exports'),
  };
}

/** Of two parts or more. */
const LARGE_BYTES = 3 << 20;

/** Something of each kind. */
function topLayer(): Buffer {
  return tar([
    dir('d'),
    file('d/file', Buffer.alloc(20_000, 'file')),
    hardlink('d/link', 'd/file'),
    symlink('d/symlink', 'file'),
    file('.wh.base', ''),
  ]);
}

function publishAppc(directory: string): Names {
  const base = buildAci({ name: 'example.com/base', files: { base: Buffer.alloc(40_000, 'base') } });
  const dependencies = [{ imageName: base.name }];
  const kept = buildAci({ name: 'example.com/kept', dependencies, files: { own: 'own' } });
  const app = buildAci({ name: 'example.com/app', dependencies, files: { 'd/file': Buffer.alloc(20_000, 'file') } });
  writeAciDirectory(directory, [base, kept, app]);
  const none = { archive: '', large: '', moved: '', exports: join(directory, 'exports') };
  return { acis: `${directory}/`, kept: `appc:${kept.name}`, app: `appc:${app.name}`, ...none };
}

/** A bit of the largest layer, all that was derived of one, and of one document. */
function damage(root: string): void {
  const layers = join(root, 'layers', 'sha256');
  const [first = '', second = ''] = readdirSync(layers).sort();
  flip(join(layers, first, 'layer.tar'));
  rmSync(join(root, 'derived', '1', 'layers', second, 'index'));
  const blobs = join(root, 'blobs', 'sha256');
  flip(join(blobs, readdirSync(blobs).sort()[0] ?? ''));
}

function flip(path: string): void {
  const fd = openSync(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, 100);
    byte.writeUInt8(byte.readUInt8() ^ 1);
    writeSync(fd, byte, 0, 1, 100);
  } finally {
    closeSync(fd);
  }
}
