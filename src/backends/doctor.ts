/**
 * ▸ What this machine's kernel makes of the EROFS path, found out by doing it in a scratch directory of the store: a small
 * image like those of images, mounted, read, read by processes that are killed, given a file that was cut, covered by an
 * overlay. Kernels with the right version have had each of these wrong. All that was made is gone afterwards.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf, isLarderError, LarderError, throwIfAborted } from '../errors.js';
import { mayMount } from '../linux/capabilities.js';
import { dropCached } from '../linux/drop-cached.js';
import { openErofs } from '../linux/erofs-mount.js';
import { makeDirectories } from '../linux/make-directories.js';
import { attach } from '../linux/mount.js';
import { mountOverlay } from '../linux/overlay-mount.js';
import { removeTree } from '../linux/remove-tree.js';
import { findProgram, runProgram } from '../linux/run-program.js';
import { unmountTree } from '../linux/unmount-tree.js';
import { OVERLAY_OPTIONS } from './container-overlay.js';
import { type ProbeFile, writeProbeImage } from './probe-image.js';

export interface Diagnosis {
  readonly name: 'mount' | 'reads' | 'killed-readers' | 'short-file' | 'overlay' | 'direct-reads';
  /** `broken`: something that the backends erofs and bind need does not work. `note`: good to know, and provided for. */
  readonly outcome: 'works' | 'note' | 'broken';
  /** One sentence. */
  readonly message: string;
}

export interface ExamineOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the directory before each examination; for tests, which spoil what is there. */
  readonly step?: (name: Diagnosis['name'], directory: string) => void;
}

interface Bench {
  readonly directory: string;
  readonly files: readonly ProbeFile[];
  /** How images can be mounted here. */
  readonly through: 'file' | 'loop';
  readonly signal: AbortSignal | undefined;
}

const FILES = 16;
const FILE_BYTES = 512 * 1024;
const ROUNDS = 20;
const READERS = 4;

/** Rejects with LARDER_PERMISSION, LARDER_BACKEND_UNAVAILABLE where nothing can be mounted at all, and LARDER_ABORTED. */
export async function* examineErofs(
  scratch: string,
  { signal, step }: ExamineOptions = {},
): AsyncGenerator<Diagnosis, void, undefined> {
  requireMounting();
  const made = makeDirectories(scratch);
  const directory = mkdtempSync(join(scratch, 'doctor-'));
  try {
    const files = Array.from({ length: FILES }, (_, i) => ({ name: `file${i}`, content: randomBytes(FILE_BYTES + i) }));
    writeProbeImage(directory, files);
    step?.('mount', directory);
    const mount = findWay(directory);
    yield mount.diagnosis;
    if (mount.through === undefined) return;
    const bench: Bench = { directory, files, through: mount.through, signal };
    for (const [name, examine] of EXAMINATIONS) {
      throwIfAborted(signal, 'doctor');
      step?.(name, directory);
      yield await examine(bench);
    }
  } finally {
    unmountTree(join(directory, 'mount'));
    removeTree(directory);
    if (made) rmdirSync(scratch);
  }
}

function requireMounting(): void {
  if (mayMount()) return;
  throw new LarderError('LARDER_PERMISSION', 'doctor: look at what the kernel makes of EROFS: mounting needs root', {
    hint: 'run as root of the host (CAP_SYS_ADMIN, in no user namespace); without it images are copied: --backend copy',
  });
}

/** The last one leaves the image spoiled. */
const EXAMINATIONS = [
  ['reads', examineReads],
  ['killed-readers', examineKilledReaders],
  ['overlay', examineOverlay],
  ['direct-reads', examineDirectReads],
  ['short-file', examineShortFile],
] as const satisfies readonly (readonly [Diagnosis['name'], (bench: Bench) => Promise<Diagnosis>])[];

/** From files, or through loop devices. */
function findWay(directory: string): { readonly through?: 'file' | 'loop'; readonly diagnosis: Diagnosis } {
  const failures: string[] = [];
  for (const through of ['file', 'loop'] as const) {
    const failure = failureOf(() => closeSync(open(directory, through)));
    if (failure !== undefined) failures.push(failure);
    else if (through === 'file')
      return { through, diagnosis: works('mount', 'images mount straight from files, and need no loop device') };
    else return { through, diagnosis: note('mount', `images mount through loop devices (from files: ${failures[0]})`) };
  }
  const message = `images cannot be mounted: ${failures[0]}; through loop devices: ${failures[1]}. Use --backend overlay`;
  return { diagnosis: broken('mount', message) };
}

async function examineReads(bench: Bench): Promise<Diagnosis> {
  const wrong = await mounted(bench, (at) => wrongFiles(bench, at));
  if (wrong.length === 0) return works('reads', `${FILES} files read as they were written`);
  return broken('reads', `files read wrong: ${wrong.join(', ')}`);
}

/** CVE-2026-31514: a page that nobody has filled stays marked as read when its reader dies, for all containers. */
async function examineKilledReaders(bench: Bench): Promise<Diagnosis> {
  const name = 'killed-readers';
  const program = await findProgram('wc');
  if (program === undefined) return note(name, 'not tried: there is no program `wc` to read with');
  let killed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    throwIfAborted(bench.signal, 'doctor');
    forgetData(bench.directory);
    const wrong = await mounted(bench, async (at) => {
      killed += await killReaders(program, at, bench, 1 + (round % 10));
      return wrongFiles(bench, at);
    });
    if (wrong.length > 0) {
      const message = `after readers were killed in the middle, files read wrong: ${wrong.join(', ')}: a fault of this kernel (CVE-2026-31514). Use --backend overlay`;
      return broken(name, message);
    }
  }
  return works(name, `${killed} readers were killed in the middle, and what they read is right for the next`);
}

/** How many were killed before they had ended. */
async function killReaders(program: string, at: string, { files, signal }: Bench, afterMs: number): Promise<number> {
  const read = async (first: number): Promise<number> => {
    const own = files.filter((_, i) => i % READERS === first).map((file) => join(at, file.name));
    try {
      await runProgram(program, ['-l', ...own], { doing: 'doctor', timeoutMs: afterMs, signal });
      return 0;
    } catch (error) {
      if (isLarderError(error, 'LARDER_TIMEOUT')) return 1;
      throw error;
    }
  };
  const counts = await Promise.all(Array.from({ length: READERS }, (_, i) => read(i)));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** What a container does with an image first. */
async function examineOverlay(bench: Bench): Promise<Diagnosis> {
  const { directory, through, files } = bench;
  const [upper, work, target] = ['upper', 'work', 'mount'].map((name) => join(directory, name));
  if (upper === undefined || work === undefined || target === undefined) return broken('overlay', 'not tried');
  const failure = failureOf(() => {
    for (const path of [upper, work, target]) mkdirSync(path, { mode: 0o700 });
    const image = open(directory, through);
    try {
      mountOverlay({ lower: [image], upper, work, target, options: { ...OVERLAY_OPTIONS, volatile: true } });
    } finally {
      closeSync(image);
    }
    const [first, second] = files;
    writeFileSync(join(target, first?.name ?? ''), 'changed');
    const fd = openSync(join(target, second?.name ?? ''), 'r');
    try {
      fchmodSync(fd, 0o600);
      if (fstatSync(fd).size !== second?.content.length)
        throw new Error('a file whose mode was changed has another size');
    } finally {
      closeSync(fd);
    }
    renameSync(join(target, 'dir'), join(target, 'renamed'));
    if (readFileSync(join(target, first?.name ?? ''), 'utf8') !== 'changed')
      throw new Error('a file that was changed reads wrong');
    if (!readFileSync(join(target, second?.name ?? '')).equals(second?.content ?? Buffer.alloc(0)))
      throw new Error('a file whose mode was changed reads wrong');
  });
  unmountTree(target);
  for (const path of [upper, work, target]) removeTree(path);
  if (failure !== undefined) return broken('overlay', `a container's overlay on an image does not work: ${failure}`);
  return works('overlay', 'an overlay on an image takes changes, changes of modes and renamed directories');
}

/** larder does not ask for them: they are slower for most, and refused by disks with sectors of 4 KiB. */
async function examineDirectReads(bench: Bench): Promise<Diagnosis> {
  const name = 'direct-reads';
  if (bench.through === 'loop') return note(name, 'not tried: they need images that mount from files');
  const wrong: string[] = [];
  const failure = await failureOfAsync(async () => {
    wrong.push(...(await mounted(bench, (at) => wrongFiles(bench, at), true)));
  });
  if (failure !== undefined)
    return note(name, `this kernel does not take them (${failure}); larder does not ask for them`);
  if (wrong.length > 0)
    return note(name, `they do not work on this disk (${wrong.join(', ')}); larder does not ask for them`);
  return works(name, 'direct reads work, too; larder does not ask for them');
}

/** A tar that lost its end must not read as zeros; larder compares its size before each mount, wherever the kernel does not. */
async function examineShortFile(bench: Bench): Promise<Diagnosis> {
  const name = 'short-file';
  const { directory, files } = bench;
  const last = files.at(-1);
  truncateSync(join(directory, 'data'), FILE_BYTES * (FILES - 1));
  forgetData(directory);
  const refusal = failureOf(() => closeSync(open(directory, bench.through)));
  if (refusal !== undefined) return works(name, `a layer that lost its end is refused at the mount (${refusal})`);
  return mounted(bench, async (at) => {
    let read: Buffer;
    try {
      read = readFileSync(join(at, last?.name ?? ''));
    } catch (error) {
      return works(name, `what a layer has lost is an error for its reader (${errnoOf(error) ?? 'unknown'})`);
    }
    const message = read.equals(last?.content ?? Buffer.alloc(0))
      ? 'what a layer has lost was still in memory'
      : 'what a layer has lost reads as zeros, without an error: only the look at its size before each mount finds it';
    return note(name, message);
  });
}

/** What reads otherwise than it was written, with what the kernel said. */
async function wrongFiles({ files }: Bench, at: string): Promise<string[]> {
  const wrong: string[] = [];
  for (const { name, content } of files) {
    try {
      if (!readFileSync(join(at, name)).equals(content)) wrong.push(name);
    } catch (error) {
      wrong.push(`${name} (${errnoOf(error) ?? 'unknown'})`);
    }
  }
  return wrong;
}

/** A mount of its own, so that nothing is in memory from before. */
async function mounted<T>(bench: Bench, work: (at: string) => Promise<T>, direct = false): Promise<T> {
  const target = join(bench.directory, 'mount');
  mkdirSync(target, { mode: 0o700 });
  try {
    const fd = open(bench.directory, bench.through, direct);
    try {
      attach(fd, target);
    } finally {
      closeSync(fd);
    }
    return await work(target);
  } finally {
    unmountTree(target);
    rmdirSync(target);
  }
}

function open(directory: string, through: 'file' | 'loop', direct = false): number {
  const imageFd = openSync(join(directory, 'image'), 'r');
  try {
    const deviceFd = openSync(join(directory, 'data'), 'r');
    try {
      return openErofs({ imageFd, deviceFds: [deviceFd], through, direct, nodev: true, nosuid: true, noexec: true });
    } finally {
      closeSync(deviceFd);
    }
  } finally {
    closeSync(imageFd);
  }
}

function forgetData(directory: string): void {
  const fd = openSync(join(directory, 'data'), 'r+');
  try {
    dropCached(fd);
  } finally {
    closeSync(fd);
  }
}

/** In words; undefined where it worked. */
function failureOf(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function failureOfAsync(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const works = (name: Diagnosis['name'], message: string): Diagnosis => ({ name, outcome: 'works', message });
const note = (name: Diagnosis['name'], message: string): Diagnosis => ({ name, outcome: 'note', message });
const broken = (name: Diagnosis['name'], message: string): Diagnosis => ({ name, outcome: 'broken', message });
