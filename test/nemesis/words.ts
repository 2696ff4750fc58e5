/** What the driver, its workers and the checker of the history say to each other. */

/** One line of a worker's history. Times are the host's monotonic clock, in milliseconds. */
export interface Line {
  readonly worker: string;
  /** How often the worker has been started. */
  readonly life: number;
  readonly what: 'begin' | 'ok' | 'failed' | 'bytes';
  readonly op: Op;
  readonly atMs: number;
  /** Of `bytes` of a volume: `container#volume`. */
  readonly container?: string;
  /** Of `recover`: which are to stay. */
  readonly known?: readonly string[];
  /** What the reference resolved to. */
  readonly digest?: string;
  /** Of `bytes`: SHA-256 of the image's marker and noise as they were read. */
  readonly sha256?: string;
  readonly code?: string;
  readonly message?: string;
  /** Of `failed`: the worker had been told to end. */
  readonly ending?: true;
}

export type Op =
  | 'open'
  /** With some containers known, which stay. */
  | 'recover'
  | 'pull'
  | 'hold'
  | 'provision'
  | 'look'
  | 'destroy'
  /** A provision, and in the middle of it the container's destroy. */
  | 'cut-off'
  | 'prune'
  | 'remove'
  | 'gc'
  | 'pin'
  | 'unpin'
  | 'repair'
  | 'check';

export interface WorkerOptions {
  readonly root: string;
  readonly worker: string;
  readonly life: number;
  readonly seed: number;
  /** References to pull. */
  readonly references: readonly string[];
  /** Of a directory with Appc images. */
  readonly acis: string;
  readonly history: string;
  /** A file; when it is there, the worker clears up and ends. */
  readonly stop: string;
}

/** What a worker ends with that was told to end by a signal: its containers stay, for its next life. */
export const TERMINATED = 143;

export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

/** The files that every image of the nemesis has. */
export const MARKER = 'marker';
export const NOISE = 'marker.noise';

/** Numbers that depend on the seed alone (mulberry32). */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}
