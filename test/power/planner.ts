/**
 * A plan of what is done with what there is to pull: lives of processes, one after the other, each with a few steps. The
 * same seed plans the same.
 */
import { randomOf } from '../nemesis/words.js';
import type { Version } from './world.js';

export type Step =
  | { readonly op: 'pull'; readonly version: Version; readonly cached: boolean }
  | { readonly op: 'remove' | Tag; readonly version: Version }
  | { readonly op: 'provision'; readonly id: string; readonly version: Version; readonly backend: Backend }
  | { readonly op: 'destroy'; readonly id: string }
  /** What no container uses is gone after it. */
  | { readonly op: 'prune' | 'gc'; readonly gone: readonly Version[] }
  /** Those that are not known are gone after it. */
  | { readonly op: 'recover'; readonly known: readonly string[]; readonly gone: readonly string[] }
  | { readonly op: 'repair' };

type Tag = 'rollback' | 'pin' | 'unpin';
export type Backend = 'erofs' | 'overlay' | 'copy' | 'bind';

export interface Life {
  /** The database is damaged before it. */
  readonly damaged: boolean;
  /** A layer that is damaged before it, which its first step repairs. */
  readonly broken?: string;
  readonly keepBlobs: boolean;
  readonly publish: readonly Version[];
  readonly steps: readonly Step[];
  /** It does not close the store. */
  readonly killed: boolean;
}

/** How many lives show everything once; the ones after it are random. */
export const FIRST_LIVES = 8;
const BACKENDS = ['erofs', 'erofs', 'overlay', 'copy', 'bind'] as const;
/** Knows what the store has after each step, so that no step fails and each one's outcome is known before it begins. */
export class Planner {
  readonly #versions: readonly (readonly Version[])[];
  readonly #random: (below: number) => number;
  /** What the references that are published at all mean in the registry. */
  readonly #published = new Map<string, Version>();
  readonly #stored = new Map<string, Version>();
  readonly #containers = new Map<string, Version>();
  readonly #pinned = new Set<string>();
  /** What it is written down that references meant. */
  readonly #resolved = new Set<Version>();
  /** What a reference means all through the life that is planned. */
  readonly #meant = new Map<string, Version>();
  #publish: Version[] = [];
  #made = 0;

  constructor(versions: readonly (readonly Version[])[], seed: number) {
    this.#versions = versions;
    this.#random = randomOf(seed);
  }

  first(i: number): Life {
    const [a1, a2] = this.#versions[0] ?? [];
    const [b1] = this.#versions[1] ?? [];
    const [c1] = this.#versions[2] ?? [];
    const [aci, docker, oci] = this.#versions.slice(3).flat();
    if (!a1 || !a2 || !b1 || !c1 || !aci || !docker || !oci) throw new Error('an image is missing');
    const lives: readonly (() => readonly Step[])[] = [
      () => [this.#pull(a1), this.#pull(b1)],
      () => [this.#pull(docker), this.#pull(aci), this.#pull(oci)],
      () => [this.#provision(a1, 'erofs'), this.#provision(b1, 'overlay'), this.#pull(a2)],
      () => [this.#provision(docker, 'copy'), this.#destroy('c0'), this.#remove(oci), this.#rollback(a1)],
      () => [this.#recover([]), this.#pin(a1), this.#pull(c1), this.#prune('prune')],
      () => [this.#pull(aci), this.#provision(aci, 'erofs'), this.#destroy('c1')],
      () => [this.#unpin(a1), this.#prune('gc'), this.#pull(b1), this.#pull(oci)],
      () => [this.#repair(), this.#recover(['c2']), this.#remove(b1), this.#pull(c1), this.#pull(a1)],
    ];
    if (i === 5) this.#resolved.clear();
    const life = this.#life(lives[i]?.() ?? [], i === 5, i === 2 || i === 6, i === 1 || i === 4);
    return i === 7 ? { ...life, broken: this.#layerOf(b1) } : life;
  }

  random(): Life {
    const damaged = this.#random(12) === 0;
    if (damaged) this.#resolved.clear();
    const fetched = [...this.#stored.values()].filter(({ digest }) => digest !== undefined);
    const broken =
      !damaged && fetched.length > 0 && this.#random(8) === 0 ? this.#layerOf(this.#one(fetched)) : undefined;
    const steps = Array.from({ length: 2 + this.#random(3) }, () => this.#anything());
    const life = this.#life(steps, damaged, this.#random(3) === 0, this.#random(3) === 0);
    return broken === undefined ? life : { ...life, broken, steps: [this.#repair(), ...steps] };
  }

  #life(steps: readonly Step[], damaged: boolean, killed: boolean, keepBlobs: boolean): Life {
    const publish = this.#publish;
    this.#publish = [];
    this.#meant.clear();
    return { damaged, publish, steps, killed, keepBlobs };
  }

  /** One that no other image shares. */
  #layerOf({ layers: [, middle = ''] }: Version): string {
    return middle;
  }

  #anything(): Step {
    const dice = this.#random(24);
    const stored = [...this.#stored.values()];
    const free = stored.filter((one) => !this.#isUsed(one));
    const ids = [...this.#containers.keys()];
    if (dice < 4 && stored.length > 0 && ids.length < 3) {
      return this.#provision(this.#one(stored), this.#one(BACKENDS));
    }
    if (dice < 7 && ids.length > 0) return this.#destroy(this.#one(ids));
    if (dice < 10 && free.length > 0) return this.#remove(this.#one(free));
    if (dice < 12) return this.#prune(dice === 10 ? 'prune' : 'gc');
    if (dice < 13) return this.#recover(ids.filter(() => this.#random(3) === 0));
    if (dice >= 22 && this.#resolved.size > 0) return this.#rollback(this.#one([...this.#resolved]));
    if (dice >= 20 && stored.length > 0) {
      const one = this.#one(stored);
      return this.#pinned.has(one.reference) ? this.#unpin(one) : this.#pin(one);
    }
    return this.#pull(this.#one(this.#one(this.#versions)));
  }

  #one<T>(all: readonly T[]): T {
    const found = all[this.#random(all.length)];
    if (found === undefined) throw new Error('nothing to choose from');
    return found;
  }

  /** The tag moves before a life, and not in it. */
  #pull(wanted: Version): Step {
    const { reference } = wanted;
    const version = this.#meant.get(reference) ?? wanted;
    this.#meant.set(reference, version);
    if (this.#published.get(reference) !== version) this.#publish.push(version);
    this.#published.set(reference, version);
    const cached = this.#stored.get(reference) === version;
    this.#stored.set(reference, version);
    if (!cached && version.digest !== undefined) this.#resolved.add(version);
    return { op: 'pull', version, cached };
  }

  /** Its registry still has each by its digest. */
  #rollback(version: Version): Step {
    this.#stored.set(version.reference, version);
    return { op: 'rollback', version };
  }

  #pin(wanted: Version): Step {
    this.#pinned.add(wanted.reference);
    return { op: 'pin', version: this.#stored.get(wanted.reference) ?? wanted };
  }

  #unpin(wanted: Version): Step {
    this.#pinned.delete(wanted.reference);
    return { op: 'unpin', version: this.#stored.get(wanted.reference) ?? wanted };
  }

  #repair(): Step {
    return { op: 'repair' };
  }

  #provision(wanted: Version, backend: Backend): Step {
    const version = this.#stored.get(wanted.reference) ?? wanted;
    const id = `c${this.#made++}`;
    this.#containers.set(id, version);
    return { op: 'provision', id, version, backend };
  }

  #destroy(id: string): Step {
    this.#containers.delete(id);
    return { op: 'destroy', id };
  }

  #remove(version: Version): Step {
    this.#stored.delete(version.reference);
    return { op: 'remove', version };
  }

  #prune(op: 'prune' | 'gc'): Step {
    const gone = [...this.#stored.values()].filter((one) => !this.#isUsed(one));
    for (const { reference } of gone) this.#stored.delete(reference);
    return { op, gone };
  }

  #recover(gone: readonly string[]): Step {
    for (const id of gone) this.#containers.delete(id);
    return { op: 'recover', known: [...this.#containers.keys()], gone };
  }

  #isUsed({ reference }: Version): boolean {
    return this.#pinned.has(reference) || [...this.#containers.values()].some((one) => one.reference === reference);
  }
}
