/** ▸ Who holds one thing, by name: for people who wonder why it is still there. */
import type { ContainerId } from '../spec/container-id.js';
import type { ImageType } from '../spec/image.js';
import type { Database } from './database.js';
import { DERIVED_WITH_IMAGES, type Holds } from './holds.js';
import { column, type RowReader } from './rows.js';

export type Holder =
  | {
      readonly kind: 'image';
      readonly type: ImageType;
      readonly reference: string;
      readonly platform: string;
      /** What it is to the image. */
      readonly as: string;
      readonly pinned: boolean;
    }
  | { readonly kind: 'container'; readonly container: ContainerId; readonly volume: string }
  /** A pull that runs, or a program that looks at an image; `handle` names its file under `handles/`. */
  | { readonly kind: 'lease'; readonly lease: string; readonly handle: string }
  /** The last prune was told that it is in use. */
  | { readonly kind: 'active' };

export interface Subject {
  readonly what: 'layer' | 'blob' | 'merged' | 'chain';
  /** A DiffID, a digest, a merged key, a ChainID's hex. */
  readonly name: string;
}

const IMAGE = 'i.type, i.reference, i.platform, i.pinned';
const MAX_FOUND = 64;

export class Holders {
  readonly #database: Database;
  readonly #holds: Holds;

  constructor(database: Database, holds: Holds) {
    this.#database = database;
    this.#holds = holds;
  }

  /**
   * What begins with these hex digits, recorded or named by a record. A layer is also found by the digest that it was
   * transferred as.
   */
  find(hex: string): Subject[] {
    const sql = `
      SELECT 'layer' AS what, diff_id AS name FROM layers
      UNION SELECT 'layer', diff_id FROM image_layers
      UNION SELECT 'layer', diff_id FROM claim_layers
      UNION SELECT kind, key FROM derived
      UNION SELECT 'blob', digest FROM images UNION SELECT 'blob', manifest FROM images UNION SELECT 'blob', config FROM images
      UNION SELECT 'blob', digest FROM image_blobs UNION SELECT 'blob', digest FROM claim_blobs
      UNION SELECT 'blob', digest FROM lease_blobs`;
    const begins = (column_: string): string => `(${column_} LIKE ? || '%' OR ${column_} LIKE 'sha___:' || ? || '%')`;
    const named = `SELECT what, name FROM (${sql}) WHERE ${begins('name')} LIMIT ${MAX_FOUND}`;
    const transferred = `SELECT DISTINCT 'layer' AS what, diff_id AS name FROM image_layers WHERE ${begins('digest')} LIMIT ${MAX_FOUND}`;
    const found = [named, transferred].flatMap((one) => column(this.#database, subjectOf, one, hex, hex));
    return [...new Map(found.map((subject) => [`${subject.what} ${subject.name}`, subject])).values()];
  }

  of({ what, name }: Subject): Holder[] {
    if (what === 'layer') return this.#ofLayer(name);
    if (what === 'blob') return this.#ofBlob(name);
    return this.#ofDerived(what, name);
  }

  #ofLayer(diffId: string): Holder[] {
    const images = `SELECT ${IMAGE}, 'layer ' || (l.position + 1) AS role FROM image_layers l JOIN images i ON i.id = l.image WHERE l.diff_id = ? ORDER BY i.reference, i.platform`;
    const claims = `SELECT DISTINCT l.container, i.name FROM claim_layers l JOIN claim_images i ON i.container = l.container AND i.position = l.image WHERE l.diff_id = ? ORDER BY l.container`;
    const active = this.#database.get('SELECT 1 FROM active_layers WHERE diff_id = ?', diffId) !== undefined;
    return [
      ...column(this.#database, imageOf, images, diffId),
      ...column(this.#database, containerOf, claims, diffId),
      ...this.#leases('lease_layers', 'diff_id', diffId),
      ...(active ? [{ kind: 'active' } as const] : []),
    ];
  }

  #ofBlob(digest: string): Holder[] {
    const roles = [
      ['config', 'config (image ID)'],
      ['manifest', 'manifest'],
      ['digest', 'what the reference resolved to'],
    ] as const;
    const images = roles.flatMap(([name, role]) =>
      column(this.#database, imageOf, `SELECT ${IMAGE}, '${role}' AS role FROM images i WHERE ${name} = ?`, digest),
    );
    const more = `SELECT ${IMAGE}, 'document' AS role FROM image_blobs b JOIN images i ON i.id = b.image WHERE b.digest = ?`;
    const claims = `SELECT container, '' AS name FROM claim_blobs WHERE digest = ? ORDER BY container`;
    return [
      ...images,
      ...column(this.#database, imageOf, more, digest),
      ...column(this.#database, containerOf, claims, digest),
      ...this.#leases('lease_blobs', 'digest', digest),
    ];
  }

  #ofDerived(kind: 'merged' | 'chain', key: string): Holder[] {
    const images = `SELECT ${IMAGE}, 'made from its layers' AS role FROM (${DERIVED_WITH_IMAGES}) d JOIN images i ON i.id = d.image WHERE d.kind = ? AND d.key = ?`;
    const claims = 'SELECT DISTINCT container, name FROM claim_images WHERE merged_key = ? ORDER BY container';
    return [
      ...column(this.#database, imageOf, images, kind, key),
      ...(kind === 'merged' ? column(this.#database, containerOf, claims, key) : []),
    ];
  }

  #leases(table: string, name: string, value: string): Holder[] {
    this.#holds.refresh();
    const sql = `SELECT lease FROM ${table} WHERE ${name} = ?`;
    const leases = new Set(column(this.#database, (row) => row.text('lease'), sql, value));
    return this.#holds
      .liveLeases()
      .filter(({ id }) => leases.has(id))
      .map(({ id, handle }) => ({ kind: 'lease', lease: id, handle }));
  }
}

function subjectOf(row: RowReader): Subject {
  const what = row.text('what');
  return { what: what === 'layer' || what === 'merged' || what === 'chain' ? what : 'blob', name: row.text('name') };
}

function imageOf(row: RowReader): Holder {
  return {
    kind: 'image',
    type: row.imageType('type'),
    reference: row.text('reference'),
    platform: row.text('platform'),
    as: row.text('role'),
    pinned: row.count('pinned') === 1,
  };
}

function containerOf(row: RowReader): Holder {
  return { kind: 'container', container: row.container('container'), volume: row.text('name') };
}
