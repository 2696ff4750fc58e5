/**
 * ▸ From a pull's events to what people ask of it: how far it is, how fast, how long it takes still, and what holds it
 * up. Pure: `now` is handed in, in milliseconds of any clock that only goes forward, the same in all calls.
 *
 *     let progress = NO_PROGRESS;
 *     for await (const event of events) progress = nextProgress(progress, event, performance.now());
 *     const { bytesPerSecond, etaMs, bottleneck } = summaryOf(progress, performance.now());
 */
import type { LarderEvent, LayerSnapshot, LayerWaits, PullFacts } from './events.js';

/** `registry-limit`: a host has asked to be left alone, or has all the requests that it may have. */
export type Bottleneck = 'network' | 'inflate' | 'disk' | 'registry-limit' | 'another-process';

export interface LayerProgressState extends LayerSnapshot {
  /** For its bytes, since it was begun. */
  readonly requests: number;
  readonly waited: LayerWaits;
}

/** What was so at one moment, to tell rates from. */
interface Sample {
  readonly atMs: number;
  readonly received: number;
  readonly waited: LayerWaits;
}

export interface PullProgress {
  readonly reference: string | undefined;
  readonly phase: 'resolve' | 'fetch' | 'merge' | 'done';
  readonly layers: ReadonlyMap<string, LayerProgressState>;
  /** Until when hosts have asked to be left alone. */
  readonly limitedUntilMs: number;
  /** Oldest first, of the last seconds. */
  readonly samples: readonly Sample[];
  /** What was fetched and where time went since the first event, of layers that are done, too. */
  readonly sum: Omit<Sample, 'atMs'>;
}

export interface ProgressSummary {
  /** Of the layers that were not here. */
  readonly layers: number;
  readonly layersDone: number;
  readonly size: number;
  readonly received: number;
  readonly written: number;
  /** 0 to 100, whole; undefined while nobody knows how much there is. */
  readonly percent: number | undefined;
  /** Of the last seconds. */
  readonly bytesPerSecond: number;
  /** Undefined while nothing moves. */
  readonly etaMs: number | undefined;
  /** What held it up in the last seconds; undefined when no layer is fetched. */
  readonly bottleneck: Bottleneck | undefined;
}

/** So much of the past says how fast it is now: long enough that one slow second does not count for all. */
const WINDOW_MS = 8_000;
/** Between two samples. */
const SAMPLE_MS = 250;
const NO_WAITS: LayerWaits = { networkMs: 0, inflateMs: 0, diskMs: 0, pausedMs: 0 };

export const NO_PROGRESS: PullProgress = {
  reference: undefined,
  phase: 'resolve',
  layers: new Map(),
  limitedUntilMs: Number.NEGATIVE_INFINITY,
  samples: [],
  sum: { received: 0, waited: NO_WAITS },
};

export function nextProgress(progress: PullProgress, event: LarderEvent, now: number): PullProgress {
  switch (event.type) {
    case 'resolve':
      return { ...progress, reference: event.reference, phase: 'resolve' };
    case 'snapshot':
      return {
        ...progress,
        reference: event.pull.reference,
        phase: 'fetch',
        layers: new Map(event.layers.map((layer) => [layer.layer, { ...UNSTARTED, ...layer }])),
        samples: [{ atMs: now, ...progress.sum }],
      };
    case 'plan':
      return { ...progress, phase: 'fetch', layers: planned(progress, event.layers) };
    case 'rate-limit':
      return { ...progress, limitedUntilMs: Math.max(progress.limitedUntilMs, now + event.afterMs) };
    case 'merge':
      return { ...progress, phase: 'merge' };
    case 'commit':
    case 'ended':
      return { ...progress, phase: 'done' };
    case 'layer-start':
    case 'layer-range':
    case 'layer-progress':
    case 'layer-wait':
    case 'layer-verified':
    case 'layer-done':
      return withLayer(progress, event, now);
    default:
      return progress;
  }
}

const UNSTARTED = { requests: 0, waited: NO_WAITS } as const;

function planned(
  { layers }: PullProgress,
  plan: Extract<LarderEvent, { type: 'plan' }>['layers'],
): ReadonlyMap<string, LayerProgressState> {
  const next = new Map(layers);
  for (const { layer, size, state } of plan) {
    const wanted = state === 'present' ? 'present' : 'waiting';
    next.set(layer, { layer, size, state: wanted, resumedFrom: 0, received: 0, written: 0, ...UNSTARTED });
  }
  return next;
}

type LayerEvent = Extract<LarderEvent, { readonly layer: string }>;

function withLayer(progress: PullProgress, event: LayerEvent, now: number): PullProgress {
  // No plan told of an Appc image: which others it needs is known only when it is here.
  const before = progress.layers.get(event.layer) ?? {
    ...{ layer: event.layer, size: 0, state: 'waiting', resumedFrom: 0, received: 0, written: 0 },
    ...UNSTARTED,
  };
  const after = nextLayer(before, event);
  const layers = new Map(progress.layers).set(event.layer, after);
  // What an earlier run had left, or another process fetched unseen, says nothing of how fast it comes.
  const isUnseen =
    event.type === 'layer-done'
      ? event.received === 0
      : event.type === 'layer-progress' && event.pid !== undefined && before.received === 0;
  const grown = isUnseen ? 0 : Math.max(0, after.received - Math.max(before.received, after.resumedFrom));
  const sum = {
    received: progress.sum.received + grown,
    waited: addGrowth(progress.sum.waited, before.waited, after.waited),
  };
  return { ...progress, layers, sum, samples: withSample(progress.samples, { atMs: now, ...sum }) };
}

function nextLayer(layer: LayerProgressState, event: LayerEvent): LayerProgressState {
  switch (event.type) {
    case 'layer-start': {
      const { size, resumedFrom } = event;
      const { pid: _, host: __, ...rest } = layer;
      const waited = NO_WAITS;
      return { ...rest, state: 'fetching', size, resumedFrom, received: resumedFrom, waited };
    }
    case 'layer-range':
      return { ...layer, host: event.host, requests: layer.requests + 1 };
    case 'layer-progress': {
      const { received, written, doing, waited = layer.waited, pid } = event;
      const state = pid !== undefined ? 'elsewhere' : doing === 'verify' ? 'verifying' : 'fetching';
      // The prefix that is here is read and hashed again first.
      const here = Math.max(received, layer.resumedFrom);
      return { ...layer, state, received: here, written, waited, ...(pid === undefined ? {} : { pid }) };
    }
    case 'layer-wait':
      return event.reason === 'network'
        ? { ...layer, state: 'waiting' }
        : { ...layer, state: 'elsewhere', ...(event.pid === undefined ? {} : { pid: event.pid }) };
    case 'layer-verified':
      return { ...layer, state: 'verifying', received: layer.size };
    case 'layer-done': {
      const { pid: _, ...rest } = layer;
      const size = layer.size === 0 ? event.received : layer.size;
      // All of it is counted as here, and none of it twice.
      return { ...rest, state: 'done', size, received: size, written: event.written };
    }
  }
}

function addGrowth(sum: LayerWaits, before: LayerWaits, after: LayerWaits): LayerWaits {
  const grown = (name: keyof LayerWaits): number => sum[name] + Math.max(0, after[name] - before[name]);
  return {
    networkMs: grown('networkMs'),
    inflateMs: grown('inflateMs'),
    diskMs: grown('diskMs'),
    pausedMs: grown('pausedMs'),
  };
}

/** The newest one takes the place of one that is hardly older; one that is older than the window is kept to begin at. */
function withSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const previous = samples.at(-2);
  const isClose = previous !== undefined && sample.atMs - previous.atMs < SAMPLE_MS;
  const all = [...(isClose ? samples.slice(0, -1) : samples), sample];
  const first = all.findLastIndex(({ atMs }) => atMs <= sample.atMs - WINDOW_MS);
  return first <= 0 ? all : all.slice(first);
}

/** What {@link nextProgress} would begin with to come to the same layers. */
export function snapshotOf({ layers }: PullProgress, pull: PullFacts): Extract<LarderEvent, { type: 'snapshot' }> {
  return { type: 'snapshot', pull, layers: [...layers.values()].map(({ requests: _, ...facts }) => facts) };
}

export function summaryOf(progress: PullProgress, now: number): ProgressSummary {
  const layers = [...progress.layers.values()].filter(({ state }) => state !== 'present');
  const total = (name: 'size' | 'received' | 'written'): number => layers.reduce((sum, layer) => sum + layer[name], 0);
  const [size, received, written] = [total('size'), total('received'), total('written')];
  const bytesPerSecond = rateOf(progress, now);
  const left = Math.max(0, size - received);
  const isDone = progress.phase === 'done' || progress.phase === 'merge';
  return {
    layers: layers.length,
    layersDone: layers.filter(({ state }) => state === 'done').length,
    size,
    received,
    written,
    percent: size > 0 ? Math.min(100, Math.floor((received / size) * 100)) : isDone ? 100 : undefined,
    bytesPerSecond,
    etaMs: left === 0 ? 0 : bytesPerSecond > 0 ? (left / bytesPerSecond) * 1000 : undefined,
    bottleneck: bottleneckOf(progress, now),
  };
}

function rateOf({ samples, sum }: PullProgress, now: number): number {
  const from = windowStart(samples, now);
  if (from === undefined) return 0;
  return ((sum.received - from.received) / Math.max(1, now - from.atMs)) * 1000;
}

/** Where nothing came for long the window slides on: its rate falls to nothing. */
function windowStart(samples: readonly Sample[], now: number): Sample | undefined {
  return samples.findLast(({ atMs }) => atMs <= now - WINDOW_MS) ?? samples[0];
}

function bottleneckOf({ layers, limitedUntilMs, samples, sum }: PullProgress, now: number): Bottleneck | undefined {
  const busy = [...layers.values()].filter(({ state }) => state === 'fetching' || state === 'verifying');
  if (busy.length === 0)
    return [...layers.values()].some(({ state }) => state === 'elsewhere') ? 'another-process' : undefined;
  const from = windowStart(samples, now);
  if (from === undefined) return undefined;
  const spent = addGrowth(NO_WAITS, from.waited, sum.waited);
  const { networkMs, inflateMs, diskMs, pausedMs } = spent;
  const longest = Math.max(networkMs, inflateMs, diskMs, pausedMs);
  const isLimited = limitedUntilMs > now - WINDOW_MS;
  if (longest === 0) return limitedUntilMs > now ? 'registry-limit' : undefined;
  // Before a try after a failure it waits as well: that is the network's fault, unless a host has asked for it.
  if (pausedMs === longest) return isLimited ? 'registry-limit' : 'network';
  if (networkMs === longest) return 'network';
  return inflateMs === longest ? 'inflate' : 'disk';
}
