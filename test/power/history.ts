/** What the workload says while the disk is recorded, and what follows from it for a store after a power cut. */

/** `begin` is said before an operation, `ok` when it has answered: from then on it is a promise. */
export interface Mark {
  readonly what: 'begin' | 'ok' | 'failed';
  readonly op: string;
  /** What it makes of images: reference -> DiffIDs base first, or null where the image goes. */
  readonly images?: Readonly<Record<string, readonly string[] | null>>;
  /** What it makes of containers: id -> DiffIDs of its image joined by blanks, or null. */
  readonly containers?: Readonly<Record<string, string | null>>;
  /** Which references it pins, or lets go of. */
  readonly pins?: Readonly<Record<string, boolean>>;
  /** What a registry was asked for: what it resolved to can be looked up from then on. */
  readonly resolved?: string;
  readonly message?: string;
}

/** Each one is in one of these states. */
export interface Expected {
  /** Reference -> DiffIDs joined by blanks, or `none`. */
  readonly images: ReadonlyMap<string, ReadonlySet<string>>;
  /** Id -> DiffIDs of its image joined by blanks, or `none`. */
  readonly containers: ReadonlyMap<string, ReadonlySet<string>>;
  /** Reference -> `pinned` or `none`; only of those of which something was promised. */
  readonly pins: ReadonlyMap<string, ReadonlySet<string>>;
  /** References of which it is written down what they mean. */
  readonly resolved: ReadonlySet<string>;
  /** Operations that had begun and not answered. */
  readonly underWay: ReadonlySet<string>;
}

export const NONE = 'none';
export const PINNED = 'pinned';

export class History implements Expected {
  readonly images = new Map<string, ReadonlySet<string>>();
  readonly containers = new Map<string, ReadonlySet<string>>();
  readonly pins = new Map<string, ReadonlySet<string>>();
  readonly resolved = new Set<string>();
  readonly underWay = new Set<string>();

  take(mark: Mark): void {
    if (mark.what === 'begin') this.underWay.add(mark.op);
    else this.underWay.delete(mark.op);
    // Whoever opens a store whose database is damaged makes it again first.
    if (mark.what === 'ok' && mark.op === 'open') this.underWay.delete('rebuild');
    if (mark.what === 'ok' && mark.op === 'repair') this.underWay.delete('break');
    if (mark.op === 'rebuild') this.#forget();
    if (mark.what === 'ok' && mark.resolved !== undefined) this.resolved.add(mark.resolved);
    for (const [reference, layers] of Object.entries(mark.images ?? {})) {
      move(this.images, reference, mark.what, layers === null ? NONE : layers.join(' '));
    }
    for (const [id, layers] of Object.entries(mark.containers ?? {})) {
      move(this.containers, id, mark.what, layers ?? NONE);
    }
    for (const [reference, isPinned] of Object.entries(mark.pins ?? {})) {
      move(this.pins, reference, mark.what, isPinned ? PINNED : NONE);
    }
  }

  /** What is lost with a database and proven by no file that is synced is no promise any more. */
  #forget(): void {
    this.resolved.clear();
    for (const reference of this.pins.keys()) this.pins.set(reference, new Set([NONE, PINNED]));
  }
}

/** Begun: what was, or what will be. Answered: what it is. Failed: nothing new is known. */
function move(states: Map<string, ReadonlySet<string>>, name: string, what: Mark['what'], to: string): void {
  if (what === 'ok') states.set(name, new Set([to]));
  else states.set(name, new Set([...(states.get(name) ?? [NONE]), to]));
}

export function isAllowed(states: ReadonlyMap<string, ReadonlySet<string>>, name: string, state: string): boolean {
  return (states.get(name) ?? new Set([NONE])).has(state);
}
