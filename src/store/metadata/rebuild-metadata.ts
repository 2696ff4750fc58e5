/**
 * A database that is lost or damaged is moved aside and made again from what the files of the store prove. Nothing else
 * is trusted: a layer counts when its tar hashes to its name (I2), a document when it does
 * (I1), an image when all that it is made of counts (I3), whatever the name files say.
 *
 * What cannot come back: the history, leases (their pulls fail and are tried again), and names of images whose name
 * file is lost, too; these images are called `localhost/recovered:<config>` from then on. Claims come back from the
 * containers' own directories, before any prune can run.
 */
import { cpus } from 'node:os';
import { Semaphore } from '../../concurrency.js';
import type { ContentStore } from '../../content/content-store.js';
import { isLarderError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import { LayerStore } from '../../layers/layer-store.js';
import type { Layout } from '../../layout.js';
import { namesIn } from '../../linux/names-in.js';
import { StoreLock } from '../../linux/store-lock.js';
import { Claims } from '../../metadata/claims.js';
import type { Database } from '../../metadata/database.js';
import { openHandle } from '../../metadata/handles.js';
import { Layers } from '../../metadata/layers.js';
import { MetadataManager } from '../../metadata/metadata-manager.js';
import { NameFiles, readClaimFile } from '../../metadata/names.js';
import { replaceDamaged } from '../../metadata/rebuild.js';
import { blobsOf, type ImageRecord } from '../../metadata/records.js';
import { containerOfDirectory } from '../../spec/container-id.js';
import type { DiffId, Digest } from '../../spec/digest.js';
import type { LayerLimits } from '../../tar/entry.js';
import type { WorkerPool } from '../../workers/pool.js';
import { storeHasContent } from './store-content.js';
import { unnamedImages } from './unnamed-images.js';

export interface RebuildParts {
  readonly layout: Layout;
  readonly content: ContentStore;
  readonly pool: WorkerPool;
  readonly limits: LayerLimits;
}

/** The store lock is shared meanwhile, so that no prune of who still has the old database open takes what is found. */
export async function rebuildIfDamaged(parts: RebuildParts, options: OperationOptions): Promise<void> {
  const { layout } = parts;
  const warn = (message: string): void => options.onEvent?.({ type: 'warning', message });
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  using _shared = await new StoreLock(layout).shared(signal);
  const aside = await replaceDamaged(layout.database, {
    ...signal,
    hasContent: () => storeHasContent(layout),
    onDamage: (why) => warn(`the database is damaged (${why}) and is made again from the files of the store`),
    fill: (database) => fill(parts, database, options, warn),
  });
  if (aside !== undefined) warn(`the database was made again; what was left of the old one is in ${aside}`);
}

async function fill(
  parts: RebuildParts,
  database: Database,
  options: OperationOptions,
  warn: (message: string) => void,
): Promise<void> {
  const { layout, content } = parts;
  const onBad = (error: unknown): void => warn(messageOf(error));
  const layers = await proveLayers(parts, database, options, onBad);
  const blobs = await proveBlobs(content, options, onBad);
  const names = NameFiles.beside(layout.database);
  const images: ImageRecord[] = [];
  for await (const record of names.list(onBad)) {
    const lost = missingOf(record, layers, blobs);
    if (lost.length === 0) images.push(record);
    else warn(`${record.reference} (${record.platform}) is forgotten: ${lost.join(', ')} is not in the store`);
  }
  const unnamed = await unnamedImages({
    content,
    blobs,
    layers,
    named: new Set(images.map((image) => image.manifest)),
  });
  for (const { reference } of unnamed) warn(`an image without a name is called ${reference} now`);
  for (const type of ['docker', 'appc'] as const) {
    const metadata = MetadataManager.create({ database, type, names });
    await metadata.restore([...images, ...unnamed].filter((record) => record.type === type));
  }
  await restoreClaims(layout, database, onBad, warn);
}

/** Records every layer whose tar is what its name says; several at once. */
async function proveLayers(
  { layout, pool, limits }: RebuildParts,
  database: Database,
  { signal, onEvent }: OperationOptions,
  onBad: (error: unknown) => void,
): Promise<ReadonlySet<DiffId>> {
  const records = new Layers(database);
  using handle = await openHandle(layout);
  const layers = new LayerStore({
    layout,
    pool,
    limits,
    handle: handle.id,
    records: { get: (diffId) => records.get(diffId), put: (record) => records.put(record), forget: () => new Set() },
  });
  await layers.prepare();
  const names = [...(await layers.names())];
  const slots = new Semaphore(Math.max(2, cpus().length));
  const proven = new Set<DiffId>();
  let done = 0;
  await Promise.all(
    names.map((diffId) =>
      slots.run(async () => {
        try {
          await layers.prove(diffId, signal === undefined ? {} : { signal });
          proven.add(diffId);
        } catch (error) {
          if (!isLarderError(error, 'LARDER_LAYER_CORRUPT', 'LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT')) throw error;
          onBad(error);
        }
        onEvent?.({ type: 'progress', what: 'rebuild', done: ++done, total: names.length });
      }, signal),
    ),
  );
  return proven;
}

async function proveBlobs(
  content: ContentStore,
  { signal }: OperationOptions,
  onBad: (error: unknown) => void,
): Promise<ReadonlySet<Digest>> {
  const proven = new Set<Digest>();
  for await (const { digest } of content.list()) {
    signal?.throwIfAborted();
    try {
      if ((await content.find(digest)) !== undefined) proven.add(digest);
    } catch (error) {
      if (!isLarderError(error, 'LARDER_DIGEST_MISMATCH', 'LARDER_SIZE_MISMATCH')) throw error;
      onBad(error);
    }
  }
  return proven;
}

/** The image index that led to the image is not needed. */
function missingOf(record: ImageRecord, layers: ReadonlySet<DiffId>, blobs: ReadonlySet<Digest>): string[] {
  return [
    ...record.layers.map(({ diffId }) => diffId).filter((diffId) => !layers.has(diffId)),
    ...blobsOf(record)
      .filter((digest) => digest !== record.digest || digest === record.manifest)
      .filter((digest) => !blobs.has(digest)),
  ];
}

/** A container whose claim cannot be read stays where it is: `check` shows it, and `destroy` takes it down. */
async function restoreClaims(
  layout: Layout,
  database: Database,
  onBad: (error: unknown) => void,
  warn: (message: string) => void,
): Promise<void> {
  const claims = new Claims(database);
  for (const name of await namesIn(layout.containers)) {
    const container = containerOfDirectory(name);
    if (container === undefined) continue;
    const claim = await readClaimFile(layout.container(container), container, onBad);
    if (claim !== undefined) await claims.insert(claim);
    else warn(`container ${container}: its claim is lost, and nothing protects its image: destroy it before you prune`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
