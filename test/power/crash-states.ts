/**
 * What a power cut can leave on a disk that was told `events`: all up to a flush, and of what came between that and the
 * next one nothing, the first few, any of them, or some and a part of one more, since a disk only promises whole sectors.
 */
import { randomOf } from '../nemesis/words.js';
import type { DiskEvent } from './disk-log.js';
import { type Below, Medium, SECTOR } from './medium.js';

/** What lies between two flushes. */
export interface Epoch {
  /** Indices of its writes. */
  readonly events: readonly number[];
  /** Index of the flush that ends it: whatever was acknowledged before that must be there in all of its states. */
  readonly end: number;
}

export interface CrashState {
  readonly kind: 'boundary' | 'prefix' | 'subset' | 'torn';
  /** All epochs before it are on the disk. */
  readonly epoch: number;
  /** Indices of this epoch's events that are on it, too. */
  readonly events: readonly number[];
  /** An event of which only these sectors are. */
  readonly torn?: { readonly event: number; readonly sectors: readonly number[] };
}

export interface Amounts {
  readonly seed: number;
  /** Random subsets of each epoch. */
  readonly subsets: number;
  /** States with a torn write of each epoch. */
  readonly torn: number;
}

export function epochsOf(events: readonly DiskEvent[]): Epoch[] {
  const epochs: Epoch[] = [];
  let open: number[] = [];
  events.forEach((event, i) => {
    if (event.kind === 'write' || event.kind === 'punch') open.push(i);
    if (event.kind !== 'flush') return;
    epochs.push({ events: open, end: i });
    open = [];
  });
  return [...epochs, { events: open, end: events.length }];
}

/** Every one that differs from all others in what is on the disk, or in what must be there; in the order of their epochs. */
export function* crashStates(
  events: readonly DiskEvent[],
  image: Below,
  amounts: Amounts,
): Generator<CrashState, void, void> {
  const random = randomOf(amounts.seed);
  const seen = new Set<string>();
  const durable = new Medium(image);
  let marks = 0;
  let last = 0;
  for (const [epoch, { events: writes, end }] of epochsOf(events).entries()) {
    for (; last < end; last++) if (events[last]?.kind === 'mark') marks++;
    // Each prefix is the last one and one write more.
    const growing = new Medium(durable);
    for (const state of statesOf(epoch, writes, events, random, amounts)) {
      const medium = state.kind === 'prefix' ? growing : new Medium(durable);
      putOnto(medium, events, state.kind === 'prefix' ? { ...state, events: state.events.slice(-1) } : state);
      const key = `${marks} ${medium.signature}`;
      if (seen.has(key)) continue;
      seen.add(key);
      yield state;
    }
    for (const i of writes) durable.apply(events[i] ?? { kind: 'flush' });
  }
}

export function putOnto(medium: Medium, events: readonly DiskEvent[], { events: writes, torn }: CrashState): void {
  for (const i of writes) medium.apply(events[i] ?? { kind: 'flush' });
  if (torn === undefined) return;
  const sectors = new Set(torn.sectors);
  medium.apply(events[torn.event] ?? { kind: 'flush' }, (sector) => sectors.has(sector));
}

function* statesOf(
  epoch: number,
  writes: readonly number[],
  events: readonly DiskEvent[],
  random: (below: number) => number,
  amounts: Amounts,
): Generator<CrashState, void, void> {
  yield { kind: 'boundary', epoch, events: [] };
  // All of them are the boundary of the next.
  for (let count = 1; count < writes.length; count++) yield { kind: 'prefix', epoch, events: writes.slice(0, count) };
  // One alone arrives or does not.
  for (let i = 0; writes.length > 1 && i < amounts.subsets; i++) {
    yield { kind: 'subset', epoch, events: writes.filter(() => random(2) === 0) };
  }
  for (let i = 0; writes.length > 0 && i < amounts.torn; i++) {
    const event = writes[random(writes.length)] ?? 0;
    const count = sectorsOf(events[event]);
    if (count < 2) continue;
    const others = random(2) === 0 ? writes.filter((one) => one < event) : writes.filter(() => random(2) === 0);
    // From its beginning, as most disks do, or any of them.
    const cut = 1 + random(count - 1);
    const inOrder = random(2) === 0;
    const sectors = Array.from({ length: count }, (_, sector) => sector);
    const arrived = sectors.filter((sector) => (inOrder ? sector < cut : random(2) === 0));
    yield { kind: 'torn', epoch, events: others.filter((one) => one !== event), torn: { event, sectors: arrived } };
  }
}

function sectorsOf(event: DiskEvent | undefined): number {
  return event?.kind === 'write' ? Math.ceil(event.bytes.length / SECTOR) : 0;
}
