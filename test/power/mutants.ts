/**
 * Mistakes in the durable protocols, each made in a copy of the compiled code that only the recorded processes use; who
 * judges what is left is always the right one. A power cut must show each of them.
 */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CHECKOUT } from '../checkout.js';
import type { FileSystem } from './recorder.js';

export interface Mutant {
  readonly name: string;
  /** Where it shows. */
  readonly fileSystem: FileSystem;
  /** File under src/, what it says there, each once, and what it says instead. */
  readonly changes: readonly (readonly [file: string, from: string, to: string])[];
  /** It shows soon after the first operation of this name, or not at all; all states are drawn from when it is left out. */
  readonly since?: string;
}

const COMPILED = fileURLToPath(new URL('../..', import.meta.url));
const LAYER_STORE = 'layers/layer-store';
const NEW_FILE = 'layers/new-file';
const DATABASE = 'metadata/database';
const PROVISIONER = 'provisioner';
const ADOPT_RENAMES = "this.#step('adopt: 2 rename');";
const ADOPTED = "this.#step('adopt: 5 done');";
const PUT_RECORDS = 'for (const layer of missing)\n            await this.#options.records.put(recordOf(layer));';
const SYNC_TAR = 'fsyncSync(this.#fd);';
const FORGET = 'const unrecorded = await this.#options.records.forget(diffIds);';
const INSERT_CLAIM = 'await this.#parts.claims.insert(claim);';
const MADE = 'const made = await this.#make(claim, held.all, request);';

export const MUTANTS: readonly Mutant[] = [
  { name: 'layer.tar is not synced', fileSystem: 'ext4', changes: [[NEW_FILE, SYNC_TAR, '']] },
  {
    name: 'layer.tar is renamed and recorded before it is synced',
    fileSystem: 'ext4',
    changes: [
      [NEW_FILE, SYNC_TAR, ''],
      [
        LAYER_STORE,
        ADOPTED,
        `for (const layer of missing) await (await (await import('node:fs/promises')).open(this.#layout.layerTar(layer.diffId))).sync();`,
      ],
    ],
  },
  {
    name: 'a layer is recorded before its bytes have their name',
    fileSystem: 'ext4',
    changes: [
      [LAYER_STORE, PUT_RECORDS, ''],
      [LAYER_STORE, ADOPT_RENAMES, `${PUT_RECORDS} ${ADOPT_RENAMES}`],
    ],
  },
  {
    name: 'the directory of the layers is not synced',
    fileSystem: 'btrfs',
    changes: [[LAYER_STORE, 'await fsyncDirectory(this.#layout.layers);', '']],
  },
  {
    name: 'documents are not synced',
    fileSystem: 'ext4',
    changes: [['linux/durable', 'await handle.chmod(mode);\n    await handle.sync();', 'await handle.chmod(mode);']],
  },
  {
    name: 'the database does not wait for the disk',
    fileSystem: 'ext4',
    changes: [
      [DATABASE, "wait ? 'FULL' : 'NORMAL'", "'OFF'"],
      [DATABASE, 'foreign_keys = ON; PRAGMA synchronous = FULL', 'foreign_keys = ON; PRAGMA synchronous = OFF'],
    ],
  },
  {
    name: 'a transaction answers before it is on the disk',
    fileSystem: 'ext4',
    changes: [
      [DATABASE, "wait ? 'FULL' : 'NORMAL'", "'NORMAL'"],
      [DATABASE, 'foreign_keys = ON; PRAGMA synchronous = FULL', 'foreign_keys = ON; PRAGMA synchronous = NORMAL'],
    ],
  },
  {
    name: 'a new database is not synced',
    fileSystem: 'ext4',
    changes: [[DATABASE, "const handle = await open(path, 'r');\n    await closing(handle, () => handle.sync());", '']],
  },
  {
    name: 'a database that is made again is not synced',
    fileSystem: 'ext4',
    since: 'rebuild',
    changes: [['metadata/rebuild', 'await closing(file, () => file.sync());', 'await file.close();']],
  },
  {
    name: 'what proves the name of an image is not synced',
    fileSystem: 'xfs',
    since: 'rebuild',
    changes: [['metadata/names', 'formatRecord(record), writeAndSync)', 'formatRecord(record))']],
  },
  {
    name: 'the format file is not synced',
    fileSystem: 'ext4',
    changes: [
      ['store-root', 'await writeFileDurable(format, ', "await (await import('node:fs/promises')).writeFile(format, "],
    ],
  },
  {
    name: 'a layer goes before its record',
    fileSystem: 'ext4',
    changes: [
      [
        LAYER_STORE,
        FORGET,
        `for (const one of diffIds) this.#garbage.takeNow(this.#layout.layer(one)); await fsyncDirectory(this.#layout.layers); ${FORGET}`,
      ],
    ],
  },
  {
    name: 'a container is claimed after it was mounted',
    fileSystem: 'ext4',
    changes: [
      [PROVISIONER, INSERT_CLAIM, ''],
      [
        PROVISIONER,
        MADE,
        `${MADE} await (await (await import('node:fs/promises')).open(this.#parts.layout.containers)).sync(); ${INSERT_CLAIM}`,
      ],
    ],
  },
  {
    name: 'the directory of a destroyed container is not synced',
    fileSystem: 'btrfs',
    changes: [['provisioner/root-filesystems', 'await fsyncDirectory(layout.containers);', '']],
  },
];

/** What is not said once any more; such a mistake can no longer be made. */
export function missingIn({ changes }: Pick<Mutant, 'changes'>): string[] {
  const source = (file: string): string => readFileSync(join(COMPILED, 'src', `${file}.js`), 'utf8');
  return changes
    .filter(([file, from]) => source(file).split(from).length !== 2)
    .map(([file, from]) => `${file}: ${from}`);
}

/** The compiled code with the mistake in it, below `directory`; answers where. */
export function compileMutant({ changes }: Pick<Mutant, 'changes'>, directory: string): string {
  mkdirSync(directory, { recursive: true });
  const code = join(directory, 'dist');
  cpSync(COMPILED, code, { recursive: true, filter: (path) => !isMap(path) });
  writeFileSync(join(directory, 'package.json'), readFileSync(join(CHECKOUT, 'package.json')));
  symlinkSync(join(CHECKOUT, 'node_modules'), join(directory, 'node_modules'));
  const [missing] = missingIn({ changes });
  if (missing !== undefined) throw new Error(`does not say once: ${missing}`);
  for (const [file, from, to] of changes) {
    const path = join(code, 'src', `${file}.js`);
    const text = readFileSync(path, 'utf8');
    writeFileSync(
      path,
      text.replace(from, () => to),
    );
  }
  return code;
}

/** Half of the bytes, and nobody reads them. */
function isMap(path: string): boolean {
  return path.endsWith('.map') || path.endsWith('.d.ts');
}
