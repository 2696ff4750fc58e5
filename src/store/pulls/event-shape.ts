/**
 * Whether what was read from a file is an event as this version tells them. A type that nobody here knows passes: another
 * version wrote it, and nobody here looks into it.
 */
import type { LarderEvent, LayerSnapshot, LayerWaits, PullFacts } from '../../events.js';

type Is = (value: unknown) => boolean;
type Shape<T> = { readonly [Name in keyof Required<T>]: Is };
type Shapes = { readonly [Type in LarderEvent['type']]: Shape<Omit<Extract<LarderEvent, { type: Type }>, 'type'>> };

export function isEvent(value: unknown): value is LarderEvent {
  if (typeof value !== 'object' || value === null || !('type' in value)) return false;
  const { type } = value;
  if (typeof type !== 'string') return false;
  return !Object.hasOwn(SHAPES, type) || object(SHAPES[type as LarderEvent['type']])(value);
}

const text: Is = (value) => typeof value === 'string';
const flag: Is = (value) => typeof value === 'boolean';
/** Bars are drawn of these. */
const count: Is = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const span: Is = (value) => Number.isFinite(value) && Number(value) >= 0 && Number(value) <= Number.MAX_SAFE_INTEGER;
const optional =
  (is: Is): Is =>
  (value) =>
    value === undefined || is(value);
const oneOf =
  (...known: readonly string[]): Is =>
  (value) =>
    known.some((one) => one === value);
const list =
  (is: Is): Is =>
  (value) =>
    Array.isArray(value) && value.every(is);

function object(shape: Readonly<Record<string, Is>>): Is {
  return (value) => {
    if (typeof value !== 'object' || value === null) return false;
    const given = new Map<string, unknown>(Object.entries(value));
    return Object.entries(shape).every(([name, is]) => is(given.get(name)));
  };
}

const waits: Shape<LayerWaits> = { networkMs: span, inflateMs: span, diskMs: span, pausedMs: span };
const facts: Shape<PullFacts> = { id: text, reference: text, platform: text, pid: count, startedAtMs: span };
const layer: Shape<LayerSnapshot> = {
  layer: text,
  size: count,
  state: oneOf('present', 'waiting', 'fetching', 'verifying', 'elsewhere', 'done'),
  resumedFrom: count,
  received: count,
  written: count,
  waited: optional(object(waits)),
  host: optional(text),
  pid: optional(count),
};

const SHAPES: Shapes = {
  resolve: { reference: text },
  resolved: { reference: text, digest: text, platform: text, cached: flag },
  plan: { layers: list(object({ layer: text, size: count, state: oneOf('present', 'fetch') })) },
  token: { host: text, from: text },
  'layer-start': { layer: text, size: count, resumedFrom: count },
  'layer-range': { layer: text, host: text, from: count, to: count, afterMs: span },
  'layer-progress': {
    layer: text,
    received: count,
    written: count,
    doing: optional(oneOf('receive', 'verify')),
    waited: optional(object(waits)),
    pid: optional(count),
  },
  'layer-wait': { layer: text, reason: oneOf('another-process', 'network'), pid: optional(count) },
  'layer-verified': { layer: text, diffId: text, size: count },
  'layer-done': { layer: text, diffId: text, received: count, written: count, entries: count, ms: span },
  retry: { what: text, reason: text, attempt: count, afterMs: span },
  'rate-limit': { what: text, host: text, afterMs: span },
  mirror: { what: text, host: text, insteadOf: optional(text), reason: optional(text) },
  merge: { layers: count, entries: count, ms: span },
  commit: { reference: text, imageId: text },
  mounted: { container: text, rootfs: text, backend: text },
  destroyed: { container: text },
  removed: { what: oneOf('image', 'layer', 'blob', 'derived'), name: text, bytes: count },
  progress: { what: oneOf('check', 'rebuild', 'repair', 'export'), done: count, total: count },
  snapshot: { pull: object(facts), layers: list(object(layer)) },
  ended: {
    outcome: oneOf('done', 'failed', 'cancelled', 'lost'),
    error: optional(object({ code: text, message: text, hint: optional(text) })),
  },
  missed: { events: count },
  warning: { message: text },
  debug: { scope: text, message: text },
};
