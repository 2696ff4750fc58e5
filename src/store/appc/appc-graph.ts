/**
 * The images of an Appc image: itself and all that it depends on, in the order in which they are laid over each other.
 * Pure: what was fetched in, lists out.
 */
import { LarderError } from '../../errors.js';
import type { AppcManifest } from '../../spec/appc-manifest.js';
import type { AppcImageId } from '../../spec/appc-types.js';
import type { DiffId, Digest } from '../../spec/digest.js';

/** One ACI that is in the store. */
export interface StoredAci {
  /** Canonical text of the request that it answered. */
  readonly reference: string;
  readonly platform: string;
  readonly id: AppcImageId;
  readonly manifest: AppcManifest;
  readonly manifestDigest: Digest;
  readonly diffId: DiffId;
  /** Bytes as transferred. */
  readonly size: number;
  /** Asked for by its id. */
  readonly pinned: boolean;
  /** Keys of what it depends on, in its manifest's order. */
  readonly dependencies: readonly string[];
}

/** By the key of the request. */
export type AciGraph = ReadonlyMap<string, StoredAci>;

/** One image of a stack, and which of its paths are to be seen; undefined: all. */
export interface StackedAci {
  readonly aci: StoredAci;
  readonly only: ReadonlySet<string> | undefined;
}

/**
 * The image of `root` and its dependencies in topological order, dependencies before dependents and in the order of
 * their manifests, none twice: A→B→C, A→D→C gives C, B, D, A (Appc specification, aci.md, "Dependency Matching").
 * Rejects with LARDER_DEPENDENCY_CYCLE.
 */
export function stackOfAci(graph: AciGraph, root: string): StackedAci[] {
  const order = topologicalOrder(graph, root);
  const shown = visiblePaths(graph, order);
  return order.map((aci) => ({ aci, only: shown.get(aci.id)?.paths }));
}

/** Who depends on an image comes after it, so backwards each one's dependents are known before it. */
function visiblePaths(graph: AciGraph, order: readonly StoredAci[]): ReadonlyMap<AppcImageId, Visible> {
  const wanted = new Map<AppcImageId, Visible>();
  for (const aci of [...order].reverse()) {
    const here = intersection(wanted.get(aci.id) ?? EVERYTHING, whitelistOf(aci.manifest));
    wanted.set(aci.id, here);
    for (const id of new Set(aci.dependencies.map((key) => at(graph, key).id))) {
      const before = wanted.get(id);
      wanted.set(id, before === undefined ? here : union(before, here));
    }
  }
  return wanted;
}

/** Depth first and after what it depends on, without recursion: a hostile graph must not decide over our stack. */
function topologicalOrder(graph: AciGraph, root: string): StoredAci[] {
  const done = new Map<AppcImageId, StoredAci>();
  const path: { readonly aci: StoredAci; readonly rest: string[] }[] = [];
  const enter = (key: string): void => {
    const aci = at(graph, key);
    if (done.has(aci.id)) return;
    if (path.some((above) => above.aci.id === aci.id)) throw cycle([...path.map((above) => above.aci), aci]);
    path.push({ aci, rest: [...aci.dependencies] });
  };
  enter(root);
  for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
    const next = top.rest.shift();
    if (next !== undefined) {
      enter(next);
      continue;
    }
    done.set(top.aci.id, top.aci);
    path.pop();
  }
  return [...done.values()];
}

/** Which paths are to be seen. */
interface Visible {
  /** Undefined: all. */
  readonly paths: ReadonlySet<string> | undefined;
}

const EVERYTHING: Visible = { paths: undefined };

function whitelistOf({ pathWhitelist }: AppcManifest): Visible {
  return pathWhitelist.length === 0 ? EVERYTHING : { paths: new Set(pathWhitelist) };
}

function intersection(a: Visible, b: Visible): Visible {
  const { paths } = b;
  if (a.paths === undefined) return b;
  if (paths === undefined) return a;
  return { paths: new Set([...a.paths].filter((path) => paths.has(path))) };
}

function union(a: Visible, b: Visible): Visible {
  return a.paths === undefined || b.paths === undefined ? EVERYTHING : { paths: new Set([...a.paths, ...b.paths]) };
}

function at(graph: AciGraph, key: string): StoredAci {
  const aci = graph.get(key);
  if (aci === undefined) throw new LarderError('LARDER_INTERNAL', `Appc image ${key}: it was not fetched`);
  return aci;
}

function cycle(images: readonly StoredAci[]): LarderError {
  const last = images.at(-1);
  const start = images.findIndex((aci) => aci.id === last?.id);
  const names = images.slice(start).map((aci) => aci.manifest.name);
  return new LarderError(
    'LARDER_DEPENDENCY_CYCLE',
    `resolve ${images[0]?.reference ?? ''}: its dependencies go in a circle: ${names.join(' → ')}`,
    { hint: 'an image cannot depend on itself' },
  );
}
