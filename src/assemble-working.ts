/** What needs a live handle on the store: leases, and everything that makes or removes things. */
import type { ContentStore } from './content/content-store.js';
import type { LayerStore } from './layers/layer-store.js';
import type { MergedImages } from './layers/merged-images.js';
import type { Layout } from './layout.js';
import type { StoreLock } from './linux/store-lock.js';
import type { Database } from './metadata/database.js';
import type { Derived } from './metadata/derived.js';
import { isHandleAlive, type StoreHandle } from './metadata/handles.js';
import type { Holds } from './metadata/holds.js';
import { Leases } from './metadata/leases.js';
import type { MetadataManager } from './metadata/metadata-manager.js';
import type { ReadWhitelist } from './spec/stack.js';
import { unmountAbandoned } from './store/abandoned-mounts.js';
import type { RunningPulls } from './store/pulls/running-pulls.js';
import type { Sweeper } from './store/upkeep/gc-sweeper.js';
import type { Retention } from './store/upkeep/retention.js';
import type { WorkerPool } from './workers/pool.js';

export interface Working {
  readonly handle: StoreHandle;
  readonly leases: Leases;
  readonly layers: LayerStore;
  readonly merged: MergedImages;
  readonly sweeper: Sweeper;
  readonly pulls: RunningPulls;
  /** Of Docker images; what it frees is freed for all types. */
  readonly retention: Retention;
  readonly appcRetention: Retention;
}

export interface WorkingParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly database: Database;
  readonly metadata: MetadataManager;
  readonly appcMetadata: MetadataManager;
  readonly derived: Derived;
  readonly holds: Holds;
  readonly content: ContentStore;
  readonly pool: WorkerPool;
  readonly readWhitelist: ReadWhitelist;
  readonly makeLayers: (make: typeof LayerStore, handle: string) => LayerStore;
}

/** Clears what died with other handles first: only what no live lock holds. */
export async function startWorking(parts: WorkingParts, handle: StoreHandle): Promise<Working> {
  const { layout, lock, database, derived, holds, content, pool, readWhitelist } = parts;
  const [{ LayerStore }, { MergedImages }, { Retention }, { Sweeper }, { DerivedFiles }, { Garbage }, running] =
    await Promise.all([
      import('./layers/layer-store.js'),
      import('./layers/merged-images.js'),
      import('./store/upkeep/retention.js'),
      import('./store/upkeep/gc-sweeper.js'),
      import('./layers/derived-listing.js'),
      import('./layers/garbage.js'),
      import('./store/pulls/running-pulls.js'),
    ]);
  const leases = new Leases({ database, layout, handle });
  const layers = parts.makeLayers(LayerStore, handle.id);
  const records = {
    get: (...which: Parameters<Derived['get']>) => derived.get(...which),
    put: (...record: Parameters<Derived['put']>) => derived.put(...record),
  };
  const merged = new MergedImages({ layout, layers, pool, readWhitelist, records });
  await leases.recover();
  await running.removeDeadPulls(layout);
  await unmountAbandoned(layout, (id) => isHandleAlive(layout, id));
  await layers.recover(async (id) => isHandleAlive(layout, id));
  const garbage = new Garbage(layout.gc);
  const derivedFiles = (['merged', 'chain'] as const).map(
    (kind) => new DerivedFiles({ layout, garbage, kind, forget: (...what) => holds.forgetDerived(kind, ...what) }),
  );
  const holding = { lock, holds, leases, content, layers };
  const sweeper = new Sweeper({ ...holding, derived: derivedFiles });
  const retentionOf = (metadata: MetadataManager): Retention => new Retention({ ...holding, metadata, sweeper });
  const retention = retentionOf(parts.metadata);
  const appcRetention = retentionOf(parts.appcMetadata);
  const pulls = new running.RunningPulls({ layout, handle });
  return { handle, leases, layers, merged, sweeper, pulls, retention, appcRetention };
}
