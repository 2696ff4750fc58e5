/**
 * What fetching layers takes of the disk. How long a tar is, nothing proves unless the layer is uncompressed: so there
 * are a bound below which it cannot be done, by which a pull is refused, and an estimate, for people.
 */
import { statfs } from 'node:fs/promises';
import { LarderError, systemError } from '../../errors.js';

export interface LayerToFetch {
  /** Bytes as transferred. */
  readonly size: number;
  /** Of these, what is on this machine's disk already; given back when the layer is done. */
  readonly here: number;
  /** The bytes come to the disk as they are transferred, too; else they are read where they lie. */
  readonly downloads: boolean;
  /** Of the tar. */
  readonly tarBytes: number;
  /** What the tar cannot be shorter than. */
  readonly leastTarBytes: number;
  readonly isExact: boolean;
}

export interface DiskNeed {
  /** What a pull cannot do without; below it, it is refused. */
  readonly atLeastBytes: number;
  /** Expected at most, at any moment of the pull. */
  readonly peakBytes: number;
  /** Expected to stay. */
  readonly finalBytes: number;
  /** Whether peak and final are more than estimates: but for indexes, which always are. */
  readonly isExact: boolean;
}

export interface DiskSpace {
  readonly freeBytes: number;
  /** Of these, what is to stay free. */
  readonly reservedBytes: number;
}

/** Indexes and EROFS images weigh about so much of the tars they are made from. */
const DERIVED_SHARE = 0.03;
const MAX_DEFAULT_RESERVE = 64 * 1024 * 1024;

/** `parallel`: how many layers are fetched at the same time. */
export function diskNeed(layers: readonly LayerToFetch[], parallel: number): DiskNeed {
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const tars = sum(layers.map(({ tarBytes }) => tarBytes));
  const here = sum(layers.map((layer) => layer.here));
  const rest = layers.map((layer) => (layer.downloads ? Math.max(0, layer.size - layer.here) : 0));
  const atOnce = sum([...rest].sort((a, b) => b - a).slice(0, parallel));
  const leastTars = layers.map(({ leastTarBytes }) => leastTarBytes);
  const derived = Math.ceil(tars * DERIVED_SHARE);
  return {
    // When a layer is done, its tar and its download are there; in the end all tars are.
    atLeastBytes: Math.max(0, sum(leastTars) - here, ...leastTars.map((tar, i) => tar + (rest[i] ?? 0))),
    peakBytes: tars + atOnce + derived,
    finalBytes: Math.max(0, tars + derived - here),
    isExact: layers.every(({ isExact }) => isExact),
  };
}

/** Of the file system that `path` is on. */
export async function diskSpace(path: string, reserved: number | undefined): Promise<DiskSpace> {
  try {
    const { bsize, blocks, bfree, bavail } = await statfs(path);
    // Root may use the blocks that are kept back from the others.
    const freeBytes = bsize * (process.getuid?.() === 0 ? bfree : bavail);
    return { freeBytes, reservedBytes: reserved ?? Math.min(MAX_DEFAULT_RESERVE, Math.floor((bsize * blocks) / 100)) };
  } catch (error) {
    throw systemError(`look for free space: ${path}`, error);
  }
}

export function fits(
  { atLeastBytes }: Pick<DiskNeed, 'atLeastBytes'>,
  { freeBytes, reservedBytes }: DiskSpace,
): boolean {
  return atLeastBytes === 0 || atLeastBytes <= freeBytes - reservedBytes;
}

/** Throws LARDER_NO_SPACE, with the figures. */
export function requireFit(need: Pick<DiskNeed, 'atLeastBytes'>, space: DiskSpace, doing: string): void {
  if (fits(need, space)) return;
  const { atLeastBytes: needed } = need;
  const { freeBytes: free, reservedBytes: reserved } = space;
  throw new LarderError(
    'LARDER_NO_SPACE',
    `${doing}: it takes at least ${needed} bytes, and ${free} are free, of which ${reserved} stay so`,
    {
      hint: 'free space on this file system, run `larder prune`, or lower reserved_disk_bytes; nothing was fetched',
      details: { needed, free, reserved },
    },
  );
}
