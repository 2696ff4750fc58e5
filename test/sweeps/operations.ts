/** What is swept: each operation from the store that it starts with, and what must be there whatever became of it. */
import type { RawFlags } from '../../src/config.js';
import { type BackendName, isLarderError, type Larder, openLarder } from '../../src/index.js';

/** The stores that operations start with. */
export type Template = 'nothing' | 'kept' | 'full' | 'damaged' | 'unreadable' | 'moved';

/** What there is to pull; plain data, for processes of their own. */
export interface Names {
  readonly acis: string;
  readonly kept: string;
  readonly app: string;
  readonly archive: string;
  /** An image with a layer that several connections fetch. */
  readonly large: string;
  /** A tag that meant something else before. */
  readonly moved: string;
  /** Where archives are written to. */
  readonly exports: string;
}

export interface Done {
  readonly images?: (names: Names) => readonly string[];
  readonly noImages?: (names: Names) => readonly string[];
  /** Whether container `c` is there. */
  readonly container?: boolean;
}

export interface Operation {
  readonly from: Template;
  /** Its points begin with the opening of the store, not behind it. */
  readonly opens?: boolean;
  readonly prepare?: (larder: Larder, names: Names) => Promise<unknown>;
  readonly run: (larder: Larder, names: Names) => Promise<unknown>;
  /** Takes back what a failed run left. */
  readonly clear?: (larder: Larder) => Promise<unknown>;
  /** Without a fault, after one was met and the operation was done: throws what is not as it was before. */
  readonly after?: (larder: Larder, names: Names) => Promise<unknown>;
  /** Which images are there afterwards, done or not. */
  readonly keeps: (names: Names) => readonly string[];
  /** Done again it finds nothing to do: what it was about to remove goes with the next prune. */
  readonly onlyOnce?: boolean;
  /** What must be so once it has said that it is done. */
  readonly done?: Done;
  /** There is no such thing in this store. */
  readonly onlyDocker?: boolean;
  /** Mounts are a part of what a kill leaves. */
  readonly mounts?: boolean;
  /** Of the store, beside those of all. */
  readonly settings?: RawFlags;
}

const kept = ({ kept }: Names): readonly string[] => [kept];
const both = ({ kept, app }: Names): readonly string[] => [kept, app];

/** Without a name: the one that is chosen by itself, and was found to work before. */
function provision(backend?: BackendName): Operation {
  const how = backend === undefined ? {} : { backend };
  return {
    from: 'full',
    run: (larder, { app }) => larder.provision(app, { id: 'c', ...how }),
    clear: (larder) => larder.destroy('c'),
    done: { container: true },
    keeps: both,
    mounts: backend !== 'copy',
  };
}

function destroy(backend: BackendName): Operation {
  return {
    from: 'full',
    prepare: (larder, { app }) => larder.provision(app, { id: 'c', backend }),
    run: (larder) => larder.destroy('c'),
    done: { container: false },
    keeps: both,
    mounts: backend !== 'copy',
  };
}

async function pull(larder: Larder, reference: string): Promise<void> {
  await using _image = await larder.pull(reference);
}

const GC = { headroom: 0, watchIntervalMs: 1000, excludedImages: [], highWatermark: 1, lowWatermark: 1 };

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  open: { from: 'nothing', opens: true, run: async () => {}, keeps: () => [] },
  rebuild: { from: 'unreadable', opens: true, run: async () => {}, keeps: both },
  probe: { from: 'kept', opens: true, run: (larder) => larder.info(), keeps: kept, mounts: true },
  pull: { from: 'kept', run: (larder, { app }) => pull(larder, app), done: { images: both }, keeps: kept },
  archive: {
    from: 'kept',
    run: (larder, { archive }) => pull(larder, archive),
    done: { images: ({ archive }) => [archive] },
    keeps: kept,
    onlyDocker: true,
  },
  'pull-large': {
    from: 'kept',
    run: (larder, { large }) => pull(larder, large),
    done: { images: ({ large }) => [large] },
    keeps: kept,
    onlyDocker: true,
    settings: { keep_blobs: true },
  },
  rollback: { from: 'moved', run: rollback, keeps: ({ kept, moved }) => [kept, moved], onlyDocker: true },
  export: {
    from: 'full',
    run: (larder, { app, exports }) => larder.export(app, `oci-archive:${exports}/app.tar`),
    keeps: both,
    onlyDocker: true,
  },
  'first-provision': {
    from: 'kept',
    opens: true,
    run: (larder, { kept }) => larder.provision(kept, { id: 'c' }),
    clear: (larder) => larder.destroy('c'),
    after: chosenAgain,
    done: { container: true },
    keeps: kept,
    mounts: true,
  },
  'provision-erofs': provision(),
  'provision-overlay': provision('overlay'),
  'provision-copy': provision('copy'),
  'provision-bind': provision('bind'),
  'destroy-erofs': destroy('erofs'),
  'destroy-overlay': destroy('overlay'),
  'destroy-copy': destroy('copy'),
  'destroy-bind': destroy('bind'),
  pin: { from: 'full', run: (larder, { app }) => larder.pin(app), keeps: both },
  remove: { from: 'full', run: remove, onlyOnce: true, done: { noImages: ({ app }) => [app] }, keeps: kept },
  prune: {
    from: 'full',
    run: (larder, { kept }) => larder.prune({ exclude: [kept], all: true }),
    done: { noImages: ({ app }) => [app] },
    keeps: kept,
  },
  gc: {
    from: 'full',
    run: (larder) => larder.collectGarbage({ config: { ...GC, storeMaxBytes: 1, minimumAgeMs: 0 } }),
    done: { noImages: both },
    keeps: () => [],
  },
  repair: { from: 'damaged', run: repair, keeps: both },
  recover: { from: 'full', opens: true, run: (larder) => larder.recover([]), keeps: kept, mounts: true },
};

/** It did not throw: what failed is in its report. */
export class Reported extends Error {}

/** An error while backends were tried out is not remembered. */
async function chosenAgain(larder: Larder, { kept }: Names): Promise<void> {
  await larder.destroy('c');
  await larder.provision(kept, { id: 'c' });
  const backend = larder.containers()[0]?.images[0]?.backend;
  const { backend: best } = await larder.info();
  if (backend !== best) throw new Error(`${backend} is used from now on, and not ${best}`);
}

/** Done twice, it is what it was. */
async function rollback(larder: Larder, { moved }: Names): Promise<void> {
  await using _image = await larder.rollback(moved);
}

async function remove(larder: Larder, { app }: Names): Promise<void> {
  const isHere = await larder.find(app).then(
    () => true,
    (error: unknown) => {
      if (isLarderError(error, 'LARDER_IMAGE_NOT_FOUND')) return false;
      throw error;
    },
  );
  if (isHere) await larder.remove(app);
}

async function repair(larder: Larder): Promise<void> {
  for await (const { outcome, subject, message } of larder.repair()) {
    if (outcome === 'failed') throw new Reported(`repair ${subject}: ${message}`);
  }
}

export function openSwept(root: string, { acis }: Pick<Names, 'acis'>, settings: RawFlags = {}): Promise<Larder> {
  const own = { owner: 'sweep', max_parallel_layers: 1, appc_simple_discovery_uri_prefix: acis };
  return openLarder({ ...own, ...settings, root });
}
