/**
 * ▸ The work of backends that is too heavy for the main thread, as functions from plain data to plain data: a worker
 * thread registers {@link backendTasks}, backends reach them through an injected {@link RunTask}.
 */

import { createHash } from 'node:crypto';
import { closeSync, readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { abortedError, errnoOf, systemError, throwIfAborted } from '../errors.js';
import { openDirectory, syncFileSystem } from '../linux/at-calls.js';
import { type Confinement, confineTo } from '../linux/confine.js';
import { removeTree } from '../linux/remove-tree.js';
import { overlayDiff } from '../tree/layer-diff.js';
import { decodeLayerIndex } from '../tree/layer-index.js';
import { mergeLayers } from '../tree/merge.js';
import { seenAs } from '../tree/seen-as.js';
import type { LayerIndex, MergedTree } from '../tree/types.js';
import { closeAll, corrupt, openChecked } from './checked-file.js';
import type { LayerFiles } from './layer-access.js';
import { type LayerData, type Materialised, type MaterialiseOptions, materialise } from './materialise.js';

export interface MaterialiseData {
  /** Base first. */
  readonly layers: readonly LayerFiles[];
  /** Exists, is empty, and only we can enter it. */
  readonly directory: string;
  readonly privileged: boolean;
  /** Device nodes are left out, with a warning. */
  readonly nodev?: boolean;
  /** No program gets another user or capabilities. */
  readonly nosuid?: boolean;
}

export interface BuildChainsData {
  /** All layers of the image, base first. */
  readonly layers: readonly LayerFiles[];
  /** In rising order of `depth`: the overlay directory of layer number `depth` (1 is the base) goes into `directory`. */
  readonly chains: readonly { readonly depth: number; readonly directory: string }[];
}

export interface BackendTasks {
  materialise: { data: MaterialiseData; result: Materialised };
  /** Makes the directories durable too. One answer for each chain. */
  buildChains: { data: BuildChainsData; result: readonly Materialised[] };
  /** Answers whether there was something. */
  removeTree: { data: { readonly path: string }; result: boolean };
}

export interface TaskControl {
  readonly signal?: AbortSignal;
}

/** Runs a task, in another thread or here; rejects with the task's error or LARDER_ABORTED. */
export type RunTask = <Name extends keyof BackendTasks>(
  name: Name,
  data: BackendTasks[Name]['data'],
  control?: TaskControl,
) => Promise<BackendTasks[Name]['result']>;

type TaskTable = {
  readonly [Name in keyof BackendTasks]: (
    data: BackendTasks[Name]['data'],
    control: TaskControl,
  ) => Promise<BackendTasks[Name]['result']>;
};

export const backendTasks: TaskTable = {
  materialise: materialiseTask,
  buildChains: buildChainsTask,
  removeTree: removeTreeTask,
};

/** The same for a worker thread's table: what arrives there was sent by a {@link RunTask}, built from this file too. */
export const workerTasks: Readonly<
  Record<keyof BackendTasks, (data: unknown, control: TaskControl) => Promise<unknown>>
> = {
  materialise: (data, control) => materialiseTask(data as MaterialiseData, control),
  buildChains: (data, control) => buildChainsTask(data as BuildChainsData, control),
  removeTree: (data) => removeTreeTask(data as BackendTasks['removeTree']['data']),
};

/** A {@link RunTask} without threads. */
export const runHere: RunTask = (name, data, control = {}) => backendTasks[name](data, control);

async function materialiseTask(data: MaterialiseData, control: TaskControl): Promise<Materialised> {
  const { layers, directory, privileged, nodev = false, nosuid = false } = data;
  const tree = mergeLayers(layers.map(readIndex));
  return await withLayerData(layers, (opened) =>
    writeInto(directory, tree, opened, { privileged, nodev, nosuid }, control),
  );
}

async function buildChainsTask(data: BuildChainsData, control: TaskControl): Promise<readonly Materialised[]> {
  const { layers, chains } = data;
  const deepest = chains.at(-1)?.depth ?? 0;
  const indexes = layers.slice(0, deepest).map(readIndex);
  const merged = lastTwo((depth) => mergeLayers(indexes.slice(0, depth)));
  return await withLayerData(layers.slice(0, deepest), async (opened) => {
    const results: Materialised[] = [];
    for (const { depth, directory } of chains) {
      const upper = merged(depth);
      const diff = overlayDiff(depth === 1 ? undefined : merged(depth - 1), upper);
      results.push(await writeInto(directory, upper, opened, { privileged: true, diff }, control));
    }
    const [first] = chains;
    if (first !== undefined) syncAround(first.directory);
    return results;
  });
}

async function removeTreeTask({ path }: { readonly path: string }): Promise<boolean> {
  try {
    return removeTree(path);
  } catch (error) {
    throw systemError(`remove ${path}`, error);
  }
}

/** Neighbouring chains share a tree: each is merged once when they are asked for in rising order. */
function lastTwo(merge: (depth: number) => MergedTree): (depth: number) => MergedTree {
  const kept = new Map<number, MergedTree>();
  return (depth) => {
    const tree = kept.get(depth) ?? merge(depth);
    for (const other of kept.keys()) if (other < depth - 1) kept.delete(other);
    kept.set(depth, tree);
    return tree;
  };
}

function readIndex(files: LayerFiles): LayerIndex {
  let bytes: Buffer;
  try {
    bytes = readFileSync(files.index);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw corrupt(files.index, 'cannot be read', error);
    throw systemError(`read ${files.index}`, error);
  }
  if (createHash('sha256').update(bytes).digest('hex') !== files.indexSha256) {
    throw corrupt(files.index, 'its SHA-256 is not the recorded one');
  }
  const index = decodeLayerIndex(bytes);
  if (index.tarSize !== files.tarSize || index.extraSize !== files.extraSize) {
    throw corrupt(files.index, `is for a tar of ${index.tarSize} bytes and an extra file of ${index.extraSize}`);
  }
  return seenAs(index, files.rootfs);
}

async function withLayerData<T>(
  layers: readonly LayerFiles[],
  work: (data: readonly LayerData[]) => Promise<T>,
): Promise<T> {
  const fds: number[] = [];
  const open = (path: string, size: number): number => {
    const fd = openChecked({ path, size });
    fds.push(fd);
    return fd;
  };
  try {
    const data = layers.map(({ tar, tarSize, extra, extraSize }) => ({
      tar: open(tar, tarSize),
      extra: extra === undefined ? undefined : open(extra, extraSize),
    }));
    return await work(data);
  } finally {
    closeAll(fds);
  }
}

async function writeInto(
  path: string,
  tree: MergedTree,
  data: readonly LayerData[],
  options: MaterialiseOptions,
  control: TaskControl,
): Promise<Materialised> {
  using target = openConfined(path);
  const steps = materialise(tree, data, target.directory, options);
  return await drive(steps, target, control, `write a root filesystem: ${path}`);
}

/** Runs the steps; between two of them the thread hears whether it was told to give up. */
async function drive<T>(
  steps: Generator<void, T, void>,
  target: Confinement,
  { signal }: TaskControl,
  doing: string,
): Promise<T> {
  throwIfAborted(signal, doing);
  for (;;) {
    const step = target.run(() => steps.next());
    if (step.done === true) return step.value;
    await setImmediate();
    // Throwing into the steps runs their finally blocks, and comes back as what was thrown.
    if (signal?.aborted === true) target.run(() => steps.throw(abortedError(doing, signal)));
  }
}

function syncAround(path: string): void {
  const directory = openTarget(path);
  try {
    syncFileSystem(directory);
  } catch (error) {
    throw systemError(`make durable: ${path}`, error);
  } finally {
    closeSync(directory);
  }
}

function openConfined(path: string): Confinement {
  try {
    return confineTo(path);
  } catch (error) {
    throw systemError(`open ${path}`, error);
  }
}

function openTarget(path: string): number {
  try {
    return openDirectory(path);
  } catch (error) {
    throw systemError(`open ${path}`, error);
  }
}
