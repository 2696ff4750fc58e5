/** ▸ Everything that must not be removed (I5): named by an image record, a claim or a live lease. */
import type { DiffId, Digest } from '../spec/digest.js';
import type { Database } from './database.js';
import type { Leases } from './leases.js';
import { column } from './rows.js';

export interface Held {
  readonly layers: ReadonlySet<DiffId>;
  readonly blobs: ReadonlySet<Digest>;
}

const LAYERS = 'SELECT diff_id FROM image_layers UNION SELECT diff_id FROM claim_layers';
const BLOBS = `
  SELECT digest FROM images UNION SELECT manifest FROM images UNION SELECT config FROM images
  UNION SELECT digest FROM image_layers UNION SELECT digest FROM claim_blobs`;

/**
 * One state of the database. The answer stays true only while the caller holds the store lock exclusively, since
 * commits and claims take it shared. Layers' compressed blobs are among the blobs, where the store keeps them.
 */
export function held(database: Database, leases: Leases): Held {
  return database.snapshot(() => {
    const live = leases.listLive();
    const layers = column(database, (row) => row.diffId('diff_id'), LAYERS);
    const blobs = column(database, (row) => row.digest('digest'), BLOBS);
    return {
      layers: new Set([...layers, ...live.flatMap((lease) => lease.layers)]),
      blobs: new Set([...blobs, ...live.flatMap((lease) => lease.blobs)]),
    };
  });
}
