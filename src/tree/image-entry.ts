/** What is read out of an image, and where its bytes come from. */
import type { DataSource } from './types.js';

/** An open data file. `FileHandle` of `node:fs/promises` is one. */
export interface DataFile {
  /** As `FileHandle.read`: may be short, 0 bytes mean the end. */
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>;
  close(): Promise<void>;
}

export interface TreeSource {
  /** Opens `layer.tar` or `layer.extra` of the layer with this place in `MergedTree.layers`. */
  openData(layer: number, source: DataSource): Promise<DataFile>;
}

export type ImageEntryType = 'file' | 'directory' | 'symlink' | 'character' | 'block' | 'fifo';

export interface ImageStat {
  readonly type: ImageEntryType;
  /** Permission bits, 0..0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch, floor, and nanoseconds after it. */
  readonly mtime: number;
  readonly mtimeNs: number;
  /** Length of a file or of a symlink's target; else 0. */
  readonly size: number;
  readonly nlink: number;
  /** Names with the same number are one file. Only good within this image. */
  readonly inode: number;
  /** Devices only, else 0. */
  readonly devMajor: number;
  readonly devMinor: number;
  /** Place of the layer that gave the attributes; undefined for a directory that no layer describes. */
  readonly layer: number | undefined;
}

export interface ImageEntry {
  /** For people: odd bytes are escaped. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly type: ImageEntryType;
  readonly inode: number;
}

export interface WalkEntry extends ImageEntry {
  /** From the root, without a leading slash; for people. */
  readonly path: string;
  readonly pathBytes: Uint8Array;
  readonly stat: ImageStat;
}
