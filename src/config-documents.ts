/**
 * ▸ The settings that are documents of their own: `image_gc_config` (Mesos's `ImageGcConfig`, and larder's keys beside
 * it) and `appc_trust`. JSON in, checked types out; every wrong key and value is LARDER_FLAGS_INVALID with its place.
 */
import { DURATION, parseDurationMs, refuseUnknownKeys } from './config-values.js';
import { LarderError } from './errors.js';
import { appcRequestOf, isAppcName, parseAppcName } from './spec/appc-name.js';
import { isAcIdentifier } from './spec/appc-types.js';
import type { Image } from './spec/image.js';
import { parseImageName } from './spec/image-name.js';
import { parseMesosImage } from './spec/mesos-image.js';
import { hostPlatform } from './spec/platform.js';

/** When images go by themselves, and which ones stay. */
export interface ImageGcConfig {
  /** Part of the file system that shall stay free, 0 to 1; Mesos collects when `usage > 1 - headroom`. */
  readonly headroom: number;
  readonly watchIntervalMs: number;
  readonly excludedImages: readonly Image[];
  /** Collect when more of the file system than this is used; 0 to 1. Default: 1 - headroom. */
  readonly highWatermark: number;
  /** Collect down to this use; not above `highWatermark`. Default: half the headroom below it. */
  readonly lowWatermark: number;
  /** The store's own limit, whatever its file system has. */
  readonly storeMaxBytes: number | undefined;
  /** An image used more lately than this stays. Default 0. */
  readonly minimumAgeMs: number;
}

/** Which ACIs must be signed, and by whom. */
export interface AppcTrust {
  /** Refuse an ACI without a signature by one of the keys for its name. */
  readonly required: boolean;
  /** Name prefix -> files with OpenPGP public keys. */
  readonly keys: Readonly<Record<string, readonly string[]>>;
}

const GC_KEYS = [
  'image_disk_headroom',
  'image_disk_watch_interval',
  'excluded_images',
  'high_watermark',
  'low_watermark',
  'store_max_bytes',
  'minimum_age',
];
const TRUST_KEYS = ['required', 'keys'];
const DEFAULT_WATCH_INTERVAL_MS = 60_000;
/** Ages are compared, never waited for: years are fine. */
const MAX_AGE_MS = 100 * 365 * 86_400_000;

export function parseImageGcConfig(value: unknown, doing: string): ImageGcConfig {
  const given = objectOf(value, doing);
  refuseUnknownKeys(given, GC_KEYS, doing);
  const storeMaxBytes = wholeBytes(given, 'store_max_bytes', doing);
  const high = fraction(given, 'high_watermark', doing);
  // A store with a limit of its own need not watch the file system.
  const headroom =
    fraction(given, 'image_disk_headroom', doing) ?? (high !== undefined ? 1 - high : storeMaxBytes && 0);
  if (headroom === undefined)
    throw refuse(doing, 'expected image_disk_headroom (or high_watermark, or store_max_bytes): it is missing');
  const highWatermark = high ?? 1 - headroom;
  const lowWatermark = fraction(given, 'low_watermark', doing) ?? Math.max(0, highWatermark - headroom / 2);
  if (lowWatermark > highWatermark)
    throw refuse(doing, `low_watermark ${lowWatermark} is above the high one, ${highWatermark}`);
  return {
    headroom,
    watchIntervalMs: duration(given, 'image_disk_watch_interval', doing, 1) ?? DEFAULT_WATCH_INTERVAL_MS,
    excludedImages: excludedImages(given['excluded_images'] ?? [], `${doing}: excluded_images`),
    highWatermark,
    lowWatermark,
    storeMaxBytes,
    minimumAgeMs: duration(given, 'minimum_age', doing, 0, MAX_AGE_MS) ?? 0,
  };
}

export function parseAppcTrust(value: unknown, doing: string): AppcTrust {
  const given = objectOf(value, doing);
  refuseUnknownKeys(given, TRUST_KEYS, doing);
  const required = given['required'] ?? false;
  if (typeof required !== 'boolean') throw refuse(doing, 'required: expected true or false');
  const keys = Object.entries(objectOf(given['keys'] ?? {}, `${doing}: keys`)).map(([prefix, files]) => {
    if (prefix !== '' && !isAcIdentifier(prefix.replace(/\/$/, '')))
      throw refuse(doing, `keys: ${JSON.stringify(prefix)}: no image has a name that begins with this`);
    const list: unknown = typeof files === 'string' ? [files] : files;
    if (!Array.isArray(list) || !list.every((file) => typeof file === 'string' && file.startsWith('/')))
      throw refuse(doing, `keys: ${JSON.stringify(prefix)}: expected a list of absolute paths`);
    return [prefix, list] as const;
  });
  return { required, keys: Object.fromEntries(keys) };
}

/** Mesos's JSON of an image, or a reference as people write it; `appc:` names an Appc image. */
function excludedImages(value: unknown, doing: string): readonly Image[] {
  if (!Array.isArray(value)) throw refuse(doing, 'expected a list');
  return value.map((item: unknown) => {
    const image: Image =
      typeof item === 'string'
        ? imageOfText(item, doing)
        : parseMesosImage(item, { doing, code: 'LARDER_FLAGS_INVALID' });
    if (image.type === 'docker') checked(() => parseImageName(image.name), doing);
    else checked(() => appcRequestOf(image, hostPlatform()), doing);
    return image;
  });
}

function imageOfText(text: string, doing: string): Image {
  return isAppcName(text) ? checked(() => parseAppcName(text), doing) : { type: 'docker', name: text };
}

/** A name that nothing can have would protect nothing. */
function checked<T>(parse: () => T, doing: string): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof LarderError) throw new LarderError('LARDER_FLAGS_INVALID', `${doing}: ${error.message}`);
    throw error;
  }
}

type Given = Readonly<Record<string, unknown>>;

function fraction(given: Given, name: string, doing: string): number | undefined {
  const value = given[name] ?? undefined;
  if (value === undefined) return undefined;
  const n = typeof value === 'string' && /^\d*\.?\d+$/.test(value) ? Number(value) : value;
  if (typeof n !== 'number' || !(n >= 0 && n <= 1))
    throw refuse(doing, `${name}: ${JSON.stringify(value)}: expected a number from 0 to 1`);
  return n;
}

function wholeBytes(given: Given, name: string, doing: string): number | undefined {
  const value = given[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1)
    throw refuse(doing, `${name}: ${JSON.stringify(value)}: expected a whole number above 0`);
  return value;
}

function duration(given: Given, name: string, doing: string, atLeastMs: number, atMostMs?: number): number | undefined {
  const value = given[name] ?? undefined;
  if (value === undefined) return undefined;
  const ms = parseDurationMs(nanoseconds(value) ?? value, atLeastMs, atMostMs);
  if (ms === undefined)
    throw refuse(doing, `${name}: ${JSON.stringify(value)}: expected ${DURATION}, or {"nanoseconds": N}`);
  return ms;
}

/** Mesos's `DurationInfo`, as seconds. */
function nanoseconds(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null || !('nanoseconds' in value)) return undefined;
  const { nanoseconds: ns } = value;
  const n = typeof ns === 'string' && /^\d{1,19}$/.test(ns) ? Number(ns) : ns;
  return typeof n === 'number' && Number.isInteger(n) && n >= 0 ? n / 1e9 : undefined;
}

function objectOf(value: unknown, doing: string): Given {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse(doing, 'expected an object');
  return value as Given;
}

function refuse(doing: string, what: string): LarderError {
  return new LarderError('LARDER_FLAGS_INVALID', `${doing}: ${what}`);
}
