/** A layer for tests: its data files in a directory, and an index made entry by entry. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { SparseRun, Xattr } from '../../src/tar/entry.js';
import { type DataSource, KIND, type LayerIndex } from '../../src/tree/types.js';

export interface Attributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly mtimeNs?: number;
  readonly xattrs?: readonly Xattr[];
}

export interface Row extends Attributes {
  readonly kind: number;
  readonly size?: number;
  readonly offset?: number;
  readonly link?: Uint8Array;
  readonly inExtra?: boolean;
  readonly sparse?: readonly SparseRun[];
}

export interface Piece {
  readonly at: number;
  readonly bytes: Uint8Array;
}

export class LabLayer {
  readonly #fds: Readonly<Record<DataSource, number>>;
  readonly #rows: Row[] = [];
  #ends = { tar: 0, extra: 0 };

  constructor(directory: string, number: number) {
    const open = (source: DataSource) => openSync(join(directory, `${number}.${source}`), 'w+');
    this.#fds = { tar: open('tar'), extra: open('extra') };
  }

  add(row: Row): number {
    return this.#rows.push(row) - 1;
  }

  /** Keeps `length` bytes of a data file, zero but for `pieces`, after a block that stands for a header. */
  store(source: DataSource, length: number, pieces: readonly Piece[]): number {
    const offset = this.#ends[source] + 512;
    for (const { at, bytes } of pieces) writeSync(this.#fds[source], bytes, 0, bytes.length, offset + at);
    this.#ends[source] = offset + Math.ceil(length / 512) * 512;
    ftruncateSync(this.#fds[source], this.#ends[source]);
    return offset;
  }

  fd(source: DataSource): number {
    return this.#fds[source];
  }

  close(): void {
    closeSync(this.#fds.tar);
    closeSync(this.#fds.extra);
  }

  index(): LayerIndex {
    const rows = this.#rows;
    const empty = new Uint8Array();
    const links = rows.map((row) => row.link ?? empty);
    let start = 0;
    return {
      count: rows.length,
      tarSize: this.#ends.tar,
      extraSize: this.#ends.extra,
      kind: Uint8Array.from(rows, (row) => row.kind),
      mode: Uint16Array.from(rows, (row) => row.mode ?? (row.kind === KIND.directory ? 0o755 : 0o644)),
      uid: Uint32Array.from(rows, (row) => row.uid ?? 0),
      gid: Uint32Array.from(rows, (row) => row.gid ?? 0),
      mtime: Float64Array.from(rows, (row) => row.mtime ?? 0),
      mtimeNs: Uint32Array.from(rows, (row) => row.mtimeNs ?? 0),
      size: Float64Array.from(rows, (row) => row.size ?? 0),
      offset: Float64Array.from(rows, (row) => row.offset ?? 0),
      pool: Buffer.concat(links),
      pathStart: new Uint32Array(rows.length),
      pathLength: new Uint16Array(rows.length),
      linkStart: Uint32Array.from(links, ({ length }) => {
        start += length;
        return start - length;
      }),
      linkLength: Uint16Array.from(links, ({ length }) => length),
      xattrs: (i) => rows[i]?.xattrs ?? [],
      hasXattrs: (i) => (rows[i]?.xattrs?.length ?? 0) > 0,
      inExtra: (i) => rows[i]?.inExtra ?? false,
      sparse: (i) => rows[i]?.sparse,
    };
  }
}
