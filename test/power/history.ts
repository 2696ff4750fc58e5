/** What the workload says while the disk is recorded, and what follows from it for a store after a power cut. */

/** `begin` is said before an operation, `ok` when it has answered: from then on it is a promise. */
export interface Mark {
  readonly what: 'begin' | 'ok' | 'failed';
  readonly op: string;
  /** What it makes of images: reference -> DiffIDs base first, or null where the image goes. */
  readonly images?: Readonly<Record<string, readonly string[] | null>>;
  /** What it makes of containers: id -> DiffIDs of its image joined by blanks, or null. */
  readonly containers?: Readonly<Record<string, string | null>>;
  readonly message?: string;
}

/** Each one is in one of these states. */
export interface Expected {
  /** Reference -> DiffIDs joined by blanks, or `none`. */
  readonly images: ReadonlyMap<string, ReadonlySet<string>>;
  /** Id -> DiffIDs of its image joined by blanks, or `none`. */
  readonly containers: ReadonlyMap<string, ReadonlySet<string>>;
  /** Operations that had begun and not answered. */
  readonly underWay: ReadonlySet<string>;
}

export const NONE = 'none';

export class History implements Expected {
  readonly images = new Map<string, ReadonlySet<string>>();
  readonly containers = new Map<string, ReadonlySet<string>>();
  readonly underWay = new Set<string>();

  take(mark: Mark): void {
    if (mark.what === 'begin') this.underWay.add(mark.op);
    else this.underWay.delete(mark.op);
    // Whoever opens a store whose database is damaged makes it again first.
    if (mark.what === 'ok' && mark.op === 'open') this.underWay.delete('rebuild');
    for (const [reference, layers] of Object.entries(mark.images ?? {})) {
      move(this.images, reference, mark.what, layers === null ? NONE : layers.join(' '));
    }
    for (const [id, layers] of Object.entries(mark.containers ?? {})) {
      move(this.containers, id, mark.what, layers ?? NONE);
    }
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
