/**
 * What goes when a store must give space back: pure, so that it can be read and tested as a table.
 *
 * Nothing goes while neither the file system nor the store is above its high mark; Mesos's rule is `headroom + usage > 1`,
 * strictly. Else tiers are taken until the low mark is reached: what nothing holds and downloads that were given up;
 * then what is derived and can be made again, where no container uses it; then images, those first that were used least
 * lately. Never an image that is excluded, pinned, in use, in a pull's hands, or used more lately than `minimumAgeMs` ago.
 */

export interface GcLimits {
  /** Part of the file system that shall stay free, 0 to 1. */
  readonly headroom: number;
  readonly highWatermark: number;
  readonly lowWatermark: number;
  /** The store's own limit. */
  readonly storeMaxBytes: number | undefined;
  readonly minimumAgeMs: number;
}

export interface GcImage {
  readonly id: number;
  readonly name: string;
  readonly lastUsedAtMs: number;
  readonly createdAtMs: number;
  readonly pinned: boolean;
  readonly excluded: boolean;
  readonly inUse: boolean;
  readonly leased: boolean;
  /** Names of what goes with it, unless something else has that, too. */
  readonly holds: readonly string[];
}

export interface GcDerived {
  readonly name: string;
  readonly bytes: number;
}

export interface GcState {
  readonly nowMs: number;
  readonly disk: { readonly sizeBytes: number; readonly usedBytes: number };
  /** What the store itself has on disk. */
  readonly storeBytes: number;
  /** What no image, container and pull holds, and downloads that were given up. */
  readonly garbageBytes: number;
  /** Made from images' layers and used by no container. */
  readonly derived: readonly GcDerived[];
  readonly images: readonly GcImage[];
  readonly sizes: ReadonlyMap<string, number>;
  /** Stays, whatever becomes of the images. */
  readonly heldElsewhere: ReadonlySet<string>;
}

/** Which limit was exceeded. */
export interface GcDue {
  readonly disk: boolean;
  readonly store: boolean;
  /** For people. */
  readonly why: string;
}

export interface GcPlan {
  /** Why something has to go; undefined: nothing has. */
  readonly due: GcDue | undefined;
  /** How much. */
  readonly neededBytes: number;
  readonly garbage: boolean;
  /** All that is derived and unused, or none. */
  readonly derived: boolean;
  readonly images: readonly { readonly image: GcImage; readonly bytes: number; readonly why: string }[];
  /** What all of it gives back, as recorded. */
  readonly expectedBytes: number;
}

/** `before`: what was due when this collection began; then it goes on until the low mark, not only below the high one. */
export function planGc(state: GcState, limits: GcLimits, before?: GcDue): GcPlan {
  const due = before ?? dueOf(state, limits);
  const neededBytes = due === undefined ? 0 : neededOf(state, limits, due);
  if (due === undefined || neededBytes <= 0)
    return { due: undefined, neededBytes: 0, garbage: false, derived: false, images: [], expectedBytes: 0 };
  let expectedBytes = state.garbageBytes;
  const derived = expectedBytes < neededBytes && state.derived.length > 0;
  const alreadyGone = new Set<string>();
  if (derived) {
    for (const { name, bytes } of state.derived) {
      alreadyGone.add(name);
      expectedBytes += bytes;
    }
  }
  const images: { image: GcImage; bytes: number; why: string }[] = [];
  const users = usersOf(state);
  for (const image of leastRecentlyUsed(state, limits)) {
    if (expectedBytes >= neededBytes) break;
    const bytes = release(image, state, users, alreadyGone);
    expectedBytes += bytes;
    images.push({ image, bytes, why: `not used for ${days(state.nowMs - image.lastUsedAtMs)}` });
  }
  return { due, neededBytes, garbage: true, derived, images, expectedBytes };
}

function dueOf({ disk, storeBytes }: GcState, limits: GcLimits): GcDue | undefined {
  const used = disk.sizeBytes === 0 ? 0 : disk.usedBytes / disk.sizeBytes;
  // As Mesos writes it: 0.1 + 0.9 is not more than 1, while to a computer 0.9 may be more than 1 - 0.1.
  const asMesos = limits.highWatermark === 1 - limits.headroom;
  const ofDisk = asMesos ? limits.headroom + used > 1 : used > limits.highWatermark;
  const ofStore = limits.storeMaxBytes !== undefined && storeBytes > limits.storeMaxBytes;
  if (!ofDisk && !ofStore) return undefined;
  const why = [
    ...(ofDisk ? [`the file system is ${percent(used)} full, the limit is ${percent(limits.highWatermark)}`] : []),
    ...(ofStore ? [`the store has ${storeBytes} bytes, the limit is ${limits.storeMaxBytes}`] : []),
  ];
  return { disk: ofDisk, store: ofStore, why: why.join('; ') };
}

/** Down to the low mark; of the store's own limit the same share. */
function neededOf({ disk, storeBytes }: GcState, limits: GcLimits, due: GcDue): number {
  const { highWatermark: high, lowWatermark: low, storeMaxBytes = 0 } = limits;
  const ofDisk = due.disk ? disk.usedBytes - low * disk.sizeBytes : 0;
  const ofStore = due.store ? storeBytes - storeMaxBytes * (high === 0 ? 0 : low / high) : 0;
  return Math.ceil(Math.max(ofDisk, ofStore));
}

function leastRecentlyUsed({ images, nowMs }: GcState, { minimumAgeMs }: GcLimits): GcImage[] {
  return (
    images
      .filter(({ pinned, excluded, inUse, leased }) => !pinned && !excluded && !inUse && !leased)
      // The clock was set back after its use: that is no reason to keep it until then.
      .filter(({ lastUsedAtMs }) => Math.max(0, nowMs - lastUsedAtMs) >= minimumAgeMs)
      .sort(
        (a, b) =>
          a.lastUsedAtMs - b.lastUsedAtMs ||
          a.createdAtMs - b.createdAtMs ||
          (a.name < b.name ? -1 : Number(a.name > b.name)),
      )
  );
}

function usersOf({ images }: GcState): Map<string, number> {
  const users = new Map<string, number>();
  for (const { holds } of images) for (const name of holds) users.set(name, (users.get(name) ?? 0) + 1);
  return users;
}

/** The bytes that go with the image, now that those before it are gone. */
function release(
  image: GcImage,
  { sizes, heldElsewhere }: GcState,
  users: Map<string, number>,
  alreadyGone: ReadonlySet<string>,
): number {
  let bytes = 0;
  for (const name of image.holds) {
    const left = (users.get(name) ?? 1) - 1;
    users.set(name, left);
    if (left === 0 && !heldElsewhere.has(name) && !alreadyGone.has(name)) bytes += sizes.get(name) ?? 0;
  }
  return bytes;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function days(ms: number): string {
  const hours = Math.max(0, ms) / 3_600_000;
  return hours < 48 ? `${hours.toFixed(1)} hours` : `${(hours / 24).toFixed(1)} days`;
}
