/**
 * Whole images: layers of any bytes are read, indexed, merged, written as an EROFS image that the kernel mounts, and
 * written as files. What is mounted is what the tree says, both ways show the same, and nothing beside them changes.
 */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { materialise } from '../../../src/backends/materialise.js';
import { at } from '../../../src/bytes.js';
import { writeDerivedFiles } from '../../../src/layers/derived-files.js';
import { openDirectory } from '../../../src/linux/at-calls.js';
import { mayMount } from '../../../src/linux/capabilities.js';
import { DEFAULT_LAYER_LIMITS, type LayerLimits } from '../../../src/tar/entry.js';
import { TarReader } from '../../../src/tar/reader.js';
import * as t from '../../../src/testing/tar-builder.js';
import { diffTrees } from '../../../src/testing/tree-digest.js';
import { IndexBuilder } from '../../../src/tree/index-builder.js';
import { decodeLayerIndex, encodeLayerIndex } from '../../../src/tree/layer-index.js';
import { mergeLayers } from '../../../src/tree/merge.js';
import { type DataSource, KIND, type LayerIndex, type MergedTree } from '../../../src/tree/types.js';
import { Canary, VICTIM } from '../../corpus/canary.js';
import { assertShows, mountedTree } from '../../erofs/kernel-view.js';
import type { Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { mutateArchive } from './tar.js';

const BOUNDARY = Buffer.from('\0\n== next layer ==\n\0');
const MAX_LAYERS = 6;
const LIMITS: LayerLimits = { ...DEFAULT_LAYER_LIMITS, maxTarBytes: 1 << 20, maxEntries: 200, maxExtensionBytes: 8192 };
/** Of what is longer only the mounted image is looked at: the other way would fill the disk. */
const MAX_WRITTEN = 8 << 20;
/** What ext4 keeps. */
const [FIRST_TIME, LAST_TIME] = [-(2 ** 31), 2 ** 34 - 2 ** 31];

export function openLayersTarget(): FuzzTarget | undefined {
  if (!mayMount()) return undefined;
  const directory = mkdtempSync(join(tmpdir(), 'larder-fuzz-layers-'));
  const canary = new Canary(directory, ['work']);
  const work = join(directory, 'work');
  return {
    name: 'layers',
    codes: ['LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED'],
    short: { runs: 20, meets: ['ok', 'LARDER_LAYER_INVALID'] },
    make: makeLayers,
    mutate: mutateLayers,
    async run(input) {
      const place = mkdtempSync(join(work, 'run-'));
      const stack = new Stack(place);
      try {
        for (const archive of layersIn(input)) await stack.add(archive);
        return show(stack);
      } finally {
        stack.close();
        rmSync(place, { recursive: true });
        assert.deepEqual(readdirSync(work), []);
        assert.deepEqual(canary.changes(), []);
      }
    },
    budgetMs: (input) => 3000 + input.length / 20,
    close: () => rmSync(directory, { recursive: true }),
  };
}

/** Layers as the store has them. */
class Stack {
  readonly directoryPath: string;
  readonly indexes: LayerIndex[] = [];
  readonly #fds: { tar: number; extra?: number }[] = [];

  constructor(directoryPath: string) {
    this.directoryPath = directoryPath;
  }

  async add(archive: Buffer): Promise<void> {
    const builder = new IndexBuilder(LIMITS);
    const reader = new TarReader(builder, LIMITS);
    reader.write(archive);
    reader.end();
    const built = builder.finish(archive.length);
    const outDir = join(this.directoryPath, String(this.#fds.length));
    mkdirSync(outDir);
    const fds: { tar: number; extra?: number } = { tar: openSync(join(outDir, 'layer.tar'), 'w+') };
    this.#fds.push(fds);
    writeSync(fds.tar, archive);
    if (built.extra.length > 0) {
      const { extra } = await writeDerivedFiles(built, fds.tar, outDir, new AbortController().signal);
      if (extra !== undefined) fds.extra = openSync(extra.path, 'r');
    }
    this.indexes.push(decodeLayerIndex(encodeLayerIndex(built)));
  }

  layer(number: number): { fd(source: DataSource): number } {
    return { fd: (source) => this.#fds[number]?.[source] ?? -1 };
  }

  get data(): { tar: number; extra: number | undefined }[] {
    return this.#fds.map(({ tar, extra }) => ({ tar, extra }));
  }

  close(): void {
    for (const fd of this.#fds.flatMap(({ tar, extra }) => [tar, ...(extra === undefined ? [] : [extra])]))
      closeSync(fd);
  }
}

function show(stack: Stack): unknown {
  const tree = mergeLayers(stack.indexes);
  mountedTree(stack, tree, (mounted) => {
    assertShows(stack, tree, mounted);
    if (!mayBeWritten(tree)) return;
    const rootfs = join(stack.directoryPath, 'rootfs');
    mkdirSync(rootfs, { mode: 0o700 });
    const root = openDirectory(rootfs);
    try {
      for (const _ of materialise(tree, stack.data, root, { privileged: true }));
    } finally {
      closeSync(root);
    }
    assert.deepEqual(diffTrees(mounted, rootfs), []);
  });
  return [tree.nameCount, tree.inodeCount];
}

function mayBeWritten(tree: MergedTree): boolean {
  let bytes = 0;
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    const index = tree.layers[at(tree.layer, inode)];
    if (index === undefined) continue;
    const entry = at(tree.entry, inode);
    if (tree.kind(inode) === KIND.file) bytes += at(index.size, entry);
    const time = at(index.mtime, entry);
    if (bytes > MAX_WRITTEN || time < FIRST_TIME || time >= LAST_TIME) return false;
  }
  return true;
}

function layersIn(input: Buffer): Buffer[] {
  const layers: Buffer[] = [];
  let start = 0;
  for (let end = input.indexOf(BOUNDARY); end >= 0; end = input.indexOf(BOUNDARY, start)) {
    layers.push(input.subarray(start, end));
    start = end + BOUNDARY.length;
  }
  return [...layers, input.subarray(start)].slice(0, MAX_LAYERS);
}

function joined(layers: readonly Buffer[]): Buffer {
  return Buffer.concat(layers.flatMap((layer, i) => (i === 0 ? [layer] : [BOUNDARY, layer])));
}

// Few names, so that everything meets everything.
const NAMES = ['a', 'b', 'c', 'a/b', 'a/c', 'a/b/c', 'b/a', 'c/a/b', 'a/../b', './c', 'd'.repeat(250)];
const OUTSIDE = [
  `../${VICTIM}/secret`,
  `../../../${VICTIM}/dir`,
  `/${VICTIM}/secret`,
  `a/../../${VICTIM}/new`,
  `a/secret`,
  `b/dir/kept`,
];
const TARGETS = ['a', 'b', '/a', '../b', '.', '..', 'a/b/../c', '/', `../../${VICTIM}`, `/../../../${VICTIM}/dir`];
const SIZES = [0, 1, 511, 512, 513, 4096, 5000];
/** Version 2, which the kernel takes: other values only the mounted image shows. */
const CAPABILITY = {
  name: 'security.capability',
  value: Buffer.from('0100000200040000000000000000000000000000', 'hex'),
};
const XATTRS = ['user.a', 'trusted.x', 'security.x', 'trusted.overlay.opaque', 'user.overlay.redirect', 'odd'];

function makeLayers(random: Random): Buffer {
  return joined(
    Array.from({ length: 1 + random.below(4) }, () => {
      const entries = Array.from({ length: random.below(9) }, () => newEntry(random));
      return t.tar(entries, { end: random.below(3) });
    }),
  );
}

function mutateLayers(input: Buffer, random: Random): Buffer {
  const layers = layersIn(input);
  const i = random.below(layers.length);
  const layer = layers[i] ?? Buffer.alloc(0);
  switch (random.below(5)) {
    case 0:
      layers.splice(i, random.below(2), random.pick(layers));
      break;
    case 1:
      layers[i] = Buffer.concat([newEntry(random), layer]);
      break;
    case 2:
      layers.push(t.tar([newEntry(random)]));
      break;
    default:
      layers[i] = mutateArchive(layer, random);
  }
  return joined(layers);
}

function newEntry(random: Random): Buffer {
  const name = random.pick(random.oneIn(30) ? OUTSIDE : NAMES);
  const about = {
    mode: random.below(0o10000),
    uid: random.pick([0, 1, 65_536, 4e9]),
    mtime: random.pick([0, 1e9, -5, 2 ** 33]),
    ...(random.oneIn(3)
      ? { xattrs: { [random.pick(XATTRS)]: 'x'.repeat(random.below(40)), [CAPABILITY.name]: CAPABILITY.value } }
      : {}),
  };
  switch (random.below(12)) {
    case 0:
    case 1:
      return t.dir(name, about);
    case 2:
    case 3:
      return t.file(name, 'x'.repeat(random.pick(SIZES)), about);
    case 4:
    case 5:
      return t.symlink(name, random.pick(TARGETS), about);
    case 6:
    case 7:
      // Most links lead to what was made just before.
      if (random.oneIn(6)) return t.hardlink(name, random.pick(random.oneIn(6) ? OUTSIDE : NAMES));
      return Buffer.concat([t.file('linked', 'x', about), t.hardlink(name, 'linked')]);
    case 8:
      return t.whiteout(name);
    case 9:
      return t.opaque(random.oneIn(4) ? '' : name);
    case 10:
      return random.oneIn(2) ? t.fifo(name) : t.char(name, random.below(3), random.below(3));
    default: {
      const format = random.pick(['gnu', '0.0', '0.1', '1.0'] as const);
      const offset = random.pick([0, 512, 700, 4096]);
      return t.sparse(name, 9000, [{ offset, data: Buffer.alloc(random.pick(SIZES) % 4000, 7) }], format);
    }
  }
}
