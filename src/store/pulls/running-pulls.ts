/**
 * ▸ The pulls that are under way in all processes that have the store open: told of by those who run them, listed and
 * followed by anybody.
 *
 * Owns `pulls/`. A file in it is named after the store handle whose pull it is, and counts while that handle is open: its
 * lock is the proof of life, as for all else that a handle holds. Nothing in the store depends on these files.
 */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SharedWork } from '../../concurrency.js';
import { abortedError, isAbort, LarderError, serializeError } from '../../errors.js';
import type { LarderEvent, LayerState, OperationOptions, PullFacts } from '../../events.js';
import type { Layout } from '../../layout.js';
import { namesIn } from '../../linux/names-in.js';
import { isHandleAlive } from '../../metadata/handles.js';
import {
  NO_PROGRESS,
  nextProgress,
  type ProgressSummary,
  type PullProgress,
  snapshotOf,
  summaryOf,
} from '../../progress.js';
import { Elsewhere } from './elsewhere.js';
import { bootMs, PullLog } from './pull-log.js';
import { PullTail } from './pull-tail.js';

/** A pull and how far it is. */
export interface RunningPull extends PullFacts, ProgressSummary {}

const NAME = /^([0-9a-f-]{36})\.([0-9a-f]{8})(\.new)?$/;
const POLL_MS = 200;

export interface RunningPullsParts {
  readonly layout: Layout;
  /** The store handle whose pulls {@link RunningPulls.tell} tells of. */
  readonly handle: { readonly id: string };
}

export class RunningPulls {
  readonly #parts: RunningPullsParts;

  constructor(parts: RunningPullsParts) {
    this.#parts = parts;
  }

  /** Runs `work`, a pull: other processes can follow it, and what they fetch of it is told here. Rejects as `work` does. */
  async tell<T>(
    pull: Pick<PullFacts, 'reference' | 'platform'>,
    { signal, onEvent }: SharedWork,
    work: (shared: SharedWork) => Promise<T>,
  ): Promise<T> {
    const { layout, handle } = this.#parts;
    const id = randomBytes(4).toString('hex');
    const facts = { id, ...pull, pid: process.pid, startedAtMs: Date.now() };
    const log = new PullLog(facts, join(layout.pulls, `${handle.id}.${id}`), onEvent);
    const note = (event: LarderEvent): void => {
      onEvent(event);
      log.note(event);
    };
    const elsewhere = new Elsewhere({ find: (layer) => whoFetches(layout, layer, id), onEvent: note });
    const told = (event: LarderEvent): void => {
      note(event);
      elsewhere.note(event);
    };
    try {
      // Nothing is told after the end.
      const result = await work({ signal, onEvent: told }).finally(() => elsewhere.stop());
      await log.end({ type: 'ended', outcome: 'done' });
      return result;
    } catch (error) {
      const { code, message, hint } = serializeError(error);
      const outcome = isAbort(error) ? 'cancelled' : 'failed';
      await log.end({ type: 'ended', outcome, error: { code, message, ...(hint === undefined ? {} : { hint }) } });
      throw error;
    }
  }
}

/** In the order in which they began. */
export async function listPulls(layout: Layout): Promise<RunningPull[]> {
  const found: RunningPull[] = [];
  for (const path of await livePaths(layout)) {
    const { facts, progress, tail } = (await look(path)) ?? {};
    await tail?.close();
    if (facts !== undefined && progress !== undefined) found.push({ ...facts, ...summaryOf(progress, bootMs()) });
  }
  return found.sort((a, b) => a.startedAtMs - b.startedAtMs);
}

/**
 * What the pull tells, a snapshot first, until it has ended, which is the last event. Rejects with LARDER_IMAGE_NOT_FOUND
 * when no such pull is under way, and with LARDER_ABORTED.
 */
export async function* followPull(
  layout: Layout,
  id: string,
  { signal }: Pick<OperationOptions, 'signal'> = {},
): AsyncGenerator<LarderEvent, void, undefined> {
  const path = (await livePaths(layout)).find((one) => one.endsWith(`.${id}`));
  const looked = path === undefined ? undefined : await look(path);
  if (path === undefined || looked === undefined) throw notRunning(id);
  const { facts, progress, tail } = looked;
  try {
    // What happened before would all seem to happen now.
    yield snapshotOf(progress, facts);
    yield* eventsIn(layout, path, tail, signal);
  } finally {
    await tail.close();
  }
}

export function notRunning(what: string): LarderError {
  return new LarderError('LARDER_IMAGE_NOT_FOUND', `attach to ${what}: no such pull is under way`, {
    hint: '`larder attach --list` lists those that are',
  });
}

/** Removes what dead processes left. How many there were. */
export async function removeDeadPulls(layout: Layout): Promise<number> {
  const dead = (await namesIn(layout.pulls)).filter((name) => !isHandleAlive(layout, handleOf(name)));
  for (const name of dead) await rm(join(layout.pulls, name), { recursive: true, force: true });
  return dead.length;
}

/** The id of the handle that a file in `pulls/` is of. */
function handleOf(name: string): string {
  return NAME.exec(name)?.[1] ?? '';
}

async function* eventsIn(
  layout: Layout,
  path: string,
  tail: PullTail,
  signal: AbortSignal | undefined,
): AsyncGenerator<LarderEvent, void, undefined> {
  const handle = handleOf(basename(path));
  for (;;) {
    // Asked first: what it told before it died is read all the same.
    const alive = isHandleAlive(layout, handle);
    for (const { event } of await tail.read()) {
      yield event;
      if (event.type === 'ended') return;
    }
    if (tail.isGone || !alive) {
      yield { type: 'ended', outcome: 'lost' };
      return;
    }
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => {
      throw abortedError('follow a pull', signal);
    });
  }
}

async function livePaths(layout: Layout): Promise<string[]> {
  const names = await namesIn(layout.pulls);
  return names
    .filter((name) => NAME.exec(name)?.[3] === undefined && isHandleAlive(layout, handleOf(name)))
    .map((name) => join(layout.pulls, name));
}

interface Looked {
  readonly facts: PullFacts;
  readonly progress: PullProgress;
  readonly tail: PullTail;
}

/** What the pull has told so far; the caller closes the tail. Undefined when it has just ended. */
async function look(path: string): Promise<Looked | undefined> {
  const tail = await PullTail.open(path);
  if (tail === undefined) return undefined;
  let looked: Looked | undefined;
  try {
    let facts: PullFacts | undefined;
    let progress = NO_PROGRESS;
    for (const { atMs, event } of await tail.read()) {
      if (event.type === 'snapshot') facts = event.pull;
      progress = nextProgress(progress, event, atMs);
    }
    if (facts !== undefined && progress.phase !== 'done') looked = { facts, progress, tail };
  } finally {
    if (looked === undefined) await tail.close();
  }
  return looked;
}

const AT_WORK: readonly LayerState[] = ['fetching', 'verifying'];

/** The pull that fetches the layer, among all but one: what it tells of it from now on. */
async function whoFetches(
  layout: Layout,
  layer: string,
  except: string,
): Promise<{ readonly pid: number; readonly events: (signal: AbortSignal) => AsyncIterable<LarderEvent> } | undefined> {
  for (const path of await livePaths(layout)) {
    if (path.endsWith(`.${except}`)) continue;
    const looked = await look(path);
    if (looked === undefined) continue;
    await looked.tail.close();
    const state = looked.progress.layers.get(layer)?.state;
    if (state !== undefined && AT_WORK.includes(state)) {
      const { pid, id } = looked.facts;
      return { pid, events: (signal) => followPull(layout, id, { signal }) };
    }
  }
  return undefined;
}
