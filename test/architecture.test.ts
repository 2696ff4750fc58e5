/**
 * The import walls. The floors and the doors are in the tables below; everything else follows from them:
 * arrows go down, other folders are entered by their doors, and only `assemble*.ts` names implementations.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT } from './checkout.js';

/** A folder's name, or a file directly under src/ without its ending; `assemble` stands for `assemble-worker` too, as `config` for its parts. */
const FLOORS: Readonly<Record<string, number>> = {
  index: 8,
  cli: 8,
  larder: 7,
  'larder-api': 7,
  assemble: 7,
  daemon: 7,
  serve: 7,
  provisioner: 6,
  'pulled-image': 6,
  repair: 6,
  store: 5,
  check: 5,
  'store-root': 5,
  backends: 4,
  layers: 4,
  content: 4,
  metadata: 4,
  config: 4,
  secrets: 4,
  registry: 3,
  workers: 3,
  layout: 3,
  spec: 2,
  tar: 2,
  tree: 2,
  erofs: 2,
  linux: 2,
  concurrency: 2,
  errors: 1,
  'event-stream': 1,
  'queued-answers': 1,
  progress: 1,
  events: 1,
  bytes: 1,
};

/** What other folders may import; `*` is every file. A folder that is not listed has no door. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  spec: ['*'],
  linux: ['*'],
  store: ['*'],
  tar: ['entry', 'reader', 'compression'],
  tree: [
    'types',
    'index-builder',
    'layer-index',
    'merge',
    'merged-key',
    'derived-format',
    'image-fs',
    'layer-diff',
    'rootfs-view',
    'seen-as',
  ],
  erofs: ['write-erofs', 'verify', 'constants'],
  workers: ['pool', 'serve', 'protocol'],
  registry: [
    'registry-client',
    'foreign-layers',
    'blob',
    'blob-broker',
    'fetch-blob',
    'credentials',
    'appc-fetch',
    'appc-trust',
  ],
  content: ['content-store', 'ingest'],
  layers: ['layer-store', 'layer-task', 'merged-images', 'derived-listing'],
  metadata: [
    'metadata-manager',
    'records',
    'database',
    'claims',
    'leases',
    'layers',
    'derived',
    'holds',
    'holders',
    'usage',
    'handles',
    'history',
    'grants',
    'names',
    'rebuild',
  ],
  backends: ['backend', 'doctor'],
  daemon: ['server', 'client', 'remote-larder', 'default-socket'],
  serve: ['server'],
};

/** The owners on this floor never import each other, but for these files, which are contracts without logic. */
const OWNERS_FLOOR = 4;
const SHARED_CONTRACTS = ['metadata/records', 'backends/backend'];

/** Where a package, or a part of Node that reaches outside, may be named. What is not listed may be named anywhere. */
const CONFINED: Readonly<Record<string, readonly string[]>> = {
  koffi: ['linux', 'tar'],
  zstddec: ['tar'],
  'smol-toml': ['registry'],
  socks: ['registry'],
  valibot: ['spec', 'registry'],
  commander: ['cli'],
  '@photostructure/sqlite': ['metadata'],
  'node:sqlite': ['metadata'],
  'node:http': ['registry', 'daemon', 'serve', 'queued-answers'],
  'node:https': ['registry'],
  'node:http2': [],
  'node:net': ['registry', 'daemon', 'serve', 'queued-answers'],
  'node:tls': ['registry'],
  'node:dgram': [],
  'node:child_process': ['cli', 'linux'],
};
const BUILTIN = /^node:/;
/** Loaded only where it is needed: reading images must work without koffi, and few hosts have the files or proxies of the others. */
const LAZY = ['koffi', 'smol-toml', 'socks'];
/** Pure folders touch no file system. */
const PURE = ['spec', 'tar', 'erofs'];
const FILE_SYSTEM = /^node:fs(\/promises)?$/;
/** Only the command speaks to a terminal and ends the process. */
const TERMINAL = /\bconsole\.|\bprocess\.(?:stdout|stderr|exit)\b/;

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
  readonly lazy: boolean;
}

/** Path under src/ without `.ts` -> text. */
type Sources = ReadonlyMap<string, string>;

function violations(sources: Sources): string[] {
  const found: string[] = [];
  for (const [file, text] of sources) {
    const folder = folderOf(file);
    const say = (what: string) => found.push(`src/${file}.ts ${what}`);
    if (folder === 'testing') continue;
    if (FLOORS[folder] === undefined) say('stands on no floor');
    if (folder !== 'cli' && TERMINAL.test(withoutComments(text))) say('speaks to the terminal or ends the process');
    for (const { target, typeOnly, lazy } of importsOf(text)) {
      if (!target.startsWith('.')) {
        for (const what of packageViolations(folder, target, typeOnly, lazy)) say(what);
        continue;
      }
      const to = posix.normalize(posix.join(posix.dirname(file), target)).replace(/\.js$/, '');
      if (!sources.has(to)) say(`imports ${to}, which is not there`);
      else if (folderOf(to) !== folder) for (const what of arrowViolations(file, to)) say(what);
    }
  }
  return [...found, ...cycles(sources)];
}

function arrowViolations(from: string, to: string): string[] {
  const [source, target] = [folderOf(from), folderOf(to)];
  if (target === 'testing') return ['imports testing, which is for tests only'];
  if (target === 'cli') return ['imports cli, which nobody may'];
  const [above, below] = [FLOORS[source] ?? 0, FLOORS[target] ?? 99];
  if (below > above) return [`imports ${to}: an arrow up, from floor ${above} to ${below}`];
  if (above === OWNERS_FLOOR && below === OWNERS_FLOOR && !SHARED_CONTRACTS.includes(to))
    return [`imports ${to}: the owners of floor 4 do not know each other`];
  if (source === 'assemble' || !to.includes('/')) return [];
  const doors = DOORS[target] ?? [];
  const name = to.slice(target.length + 1);
  return doors.includes('*') || doors.includes(name) ? [] : [`imports ${to}, which is not a door of ${target}`];
}

function packageViolations(folder: string, target: string, typeOnly: boolean, lazy: boolean): string[] {
  const name = BUILTIN.test(target) ? target : target.split('/', target.startsWith('@') ? 2 : 1).join('/');
  const places = CONFINED[name];
  const found: string[] = [];
  if (places === undefined && !BUILTIN.test(name)) found.push(`imports ${name}, which no folder may`);
  if (places !== undefined && !places.includes(folder) && folder !== 'assemble')
    found.push(`imports ${name}, which belongs to ${places.join(', ') || 'nobody'}`);
  if (LAZY.includes(name) && !typeOnly && !lazy)
    found.push(`imports ${name} at once: it must be loaded where it is needed`);
  if (PURE.includes(folder) && FILE_SYSTEM.test(name)) found.push(`imports ${name}: ${folder} touches no file system`);
  return found;
}

/** Folders that need each other at run time, on the one floor where arrows may go sideways. */
function cycles(sources: Sources): string[] {
  const needs = new Map<string, Set<string>>();
  for (const [file, text] of sources) {
    for (const { target, typeOnly } of importsOf(text)) {
      if (!target.startsWith('.') || typeOnly) continue;
      const [from, to] = [
        folderOf(file),
        folderOf(posix.normalize(posix.join(posix.dirname(file), target)).replace(/\.js$/, '')),
      ];
      if (from !== to) needs.set(from, (needs.get(from) ?? new Set()).add(to));
    }
  }
  const reaches = (from: string, to: string, seen: Set<string>): boolean =>
    [...(needs.get(from) ?? [])].some((next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))));
  return [...needs.keys()]
    .filter((folder) => folder !== 'testing' && reaches(folder, folder, new Set()))
    .map((folder) => `src/${folder}: needs itself by way of others`);
}

function folderOf(file: string): string {
  const first = file.split('/', 1)[0] ?? '';
  return /^(?:assemble|config)(?=-|$)/.exec(first)?.[0] ?? first;
}

function importsOf(text: string): Import[] {
  const code = withoutComments(text);
  const found: Import[] = [];
  for (const [, type, target] of code.matchAll(
    /^\s*(?:import|export)\s+(type\s)?[^;'"]*?\bfrom\s*['"]([^'"]+)['"]/gm,
  )) {
    found.push({ target: target ?? '', typeOnly: type !== undefined, lazy: false });
  }
  for (const [, target] of code.matchAll(/^\s*import\s*['"]([^'"]+)['"]/gm))
    found.push({ target: target ?? '', typeOnly: false, lazy: false });
  for (const [, target] of code.matchAll(/\b(?:import|require)\(\s*['"]([^'"]+)['"]/g))
    found.push({ target: target ?? '', typeOnly: false, lazy: true });
  return found;
}

/** Comments that start a line or follow a blank; enough for a formatted source, and a URL in a string stays whole. */
function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/(^|\s)\/\/.*$/gm, '$1');
}

function readSources(): Sources {
  const root = join(CHECKOUT, 'src');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
  return new Map(files.sort().map((path) => [path.replace(/\.ts$/, ''), readFileSync(join(root, path), 'utf8')]));
}

function seeded(files: Readonly<Record<string, string>>): string[] {
  return violations(new Map(Object.entries(files)));
}

test('imports only go down, and through doors', () => {
  const sources = readSources();
  assert.ok(sources.size > 10, 'the sources were read');
  assert.deepEqual(violations(sources), []);
});

test('every door is a file', () => {
  const sources = readSources();
  const missing = Object.entries(DOORS).flatMap(([folder, names]) =>
    names.filter((name) => name !== '*' && !sources.has(`${folder}/${name}`)).map((name) => `${folder}/${name}`),
  );
  assert.deepEqual(missing, []);
});

test('an arrow down through a door is allowed', () => {
  assert.deepEqual(seeded({ 'layers/layer-store': "import { DEFAULT } from '../tar/entry.js';", 'tar/entry': '' }), []);
});

test('an arrow up is found', () => {
  const found = seeded({ 'tar/entry': "import { x } from '../layers/layer-store.js';", 'layers/layer-store': '' });
  assert.match(found.join(), /tar\/entry\.ts imports layers\/layer-store: an arrow up, from floor 2 to 4/);
});

test('a type imported upward is found too', () => {
  const found = seeded({ 'spec/image': "import type {\n  x,\n} from '../store/store.js';", 'store/store': '' });
  assert.match(found.join(), /an arrow up/);
});

test('an import past a door is found, but not one by the composition root', () => {
  const files = { 'erofs/inode': '', 'backends/backend': "import { x } from '../erofs/inode.js';" };
  assert.match(seeded(files).join(), /erofs\/inode, which is not a door of erofs/);
  assert.deepEqual(seeded({ 'erofs/inode': '', 'assemble-worker': "import { x } from './erofs/inode.js';" }), []);
});

test('owners on floor 4 that import each other are found, but for their contracts', () => {
  const files = {
    'metadata/records': '',
    'metadata/claims': '',
    'layers/layer-store': "import type { R } from '../metadata/records.js';",
  };
  assert.deepEqual(seeded(files), []);
  const other = seeded({ ...files, 'layers/layer-store': "import type { C } from '../metadata/claims.js';" });
  assert.match(other.join(), /do not know each other/);
});

test('nobody imports the command or the tests’ tools', () => {
  assert.match(
    seeded({ index: "export { main } from './cli/main.js';", 'cli/main': '' }).join(),
    /cli, which nobody may/,
  );
  assert.match(
    seeded({ 'tar/reader': "import '../testing/tar-builder.js';", 'testing/tar-builder': '' }).join(),
    /for tests only/,
  );
});

test('a dynamic import counts like any other', () => {
  assert.match(
    seeded({ 'tar/reader': "const x = await import('../store/store.js');", 'store/store': '' }).join(),
    /an arrow up/,
  );
});

test('a package in the wrong folder is found', () => {
  assert.match(
    seeded({ 'tree/merge': "import * as v from 'valibot';" }).join(),
    /valibot, which belongs to spec, registry/,
  );
  assert.match(seeded({ 'tree/merge': "import left from 'left-pad';" }).join(), /left-pad, which no folder may/);
  assert.match(seeded({ 'metadata/database': "import x from '@photostructure/sqlite/deep';" }).join(), /^$/);
});

test('koffi at the top of a file is found, as a type or inside a function it is not', () => {
  assert.match(seeded({ 'linux/mount': "import koffi from 'koffi';" }).join(), /must be loaded where it is needed/);
  assert.deepEqual(
    seeded({ 'linux/mount': "import type koffi from 'koffi';\nconst load = () => import('koffi');" }),
    [],
  );
});

test('a socket outside its folder and a file system in a pure one are found', () => {
  assert.match(
    seeded({ 'layers/layer-store': "import { request } from 'node:http';" }).join(),
    /node:http, which belongs to registry, daemon/,
  );
  assert.match(
    seeded({ 'erofs/erofs-writer': "import { readFile } from 'node:fs/promises';" }).join(),
    /touches no file system/,
  );
});

test('a console outside the command is found, but not one in a comment', () => {
  assert.match(seeded({ 'tar/reader': "console.log('x');" }).join(), /speaks to the terminal/);
  assert.deepEqual(seeded({ 'tar/reader': '// console.log is not for libraries\n/* process.exit() neither */' }), []);
});

test('folders that need each other at run time are found', () => {
  const found = seeded({ 'tar/entry': "import '../tree/types.js';", 'tree/types': "import '../tar/entry.js';" });
  assert.deepEqual(found, ['src/tar: needs itself by way of others', 'src/tree: needs itself by way of others']);
});

test('a new folder without a floor and an import of nothing are found', () => {
  assert.match(seeded({ 'misc/x': '' }).join(), /stands on no floor/);
  assert.match(seeded({ 'tar/reader': "import './gone.js';" }).join(), /tar\/gone, which is not there/);
});
