import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { type DiffId, parseDiffId } from './digest.js';
import { parseJson } from './json.js';
import { lookalikeKey } from './lookalike-keys.js';
import type { ImageManifest } from './manifest.js';
import { normalizePlatform, type Platform } from './platform.js';
import { assertShape, listOf, mapOf, optionalText, shortListOf } from './shape.js';

/** OCI image-spec `config.md` and Docker's image JSON, as far as larder hands it on. Data for the caller: nothing here is obeyed. */
export interface ImageConfig {
  /** As written; empty where the image does not say. */
  readonly architecture: string;
  readonly os: string;
  readonly variant: string;
  readonly created?: string;
  readonly author?: string;
  readonly config: ContainerConfig;
  readonly diffIds: readonly DiffId[];
  readonly history: readonly HistoryEntry[];
}

/** Keys as in the JSON. Lists and texts that are missing or null are empty; for Entrypoint and Cmd absence means something. */
export interface ContainerConfig {
  readonly Hostname: string;
  readonly User: string;
  readonly WorkingDir: string;
  readonly StopSignal: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[] | undefined;
  readonly Cmd: readonly string[] | undefined;
  /** Keys of the JSON's maps to empty objects. */
  readonly ExposedPorts: readonly string[];
  readonly Volumes: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
  readonly Healthcheck: Healthcheck | undefined;
}

/** Times in nanoseconds, as Docker writes them. */
export interface Healthcheck {
  readonly Test: readonly string[];
  readonly Interval: number;
  readonly Timeout: number;
  readonly StartPeriod: number;
  readonly Retries: number;
}

export interface HistoryEntry {
  readonly created: string;
  readonly createdBy: string;
  readonly comment: string;
  readonly emptyLayer: boolean;
}

const KEYS = ['architecture', 'os', 'variant', 'config', 'rootfs', 'history'];
const ROOTFS_KEYS = ['type', 'diff_ids'];

export const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/** Rejects with LARDER_CONFIG_INVALID (LARDER_DIGEST_INVALID for a DiffID that is none). Unknown fields are left alone. */
export function parseImageConfig(bytes: Uint8Array, doing = 'image config'): ImageConfig {
  const value = parseJson(bytes, { doing, maxBytes: MAX_CONFIG_BYTES, code: 'LARDER_CONFIG_INVALID' });
  const key = lookalikeKey(value, KEYS) ?? lookalikeKey((value as { rootfs?: unknown } | null)?.rootfs, ROOTFS_KEYS);
  if (key !== undefined) {
    const shown = JSON.stringify(key.slice(0, 80));
    throw new LarderError(
      'LARDER_CONFIG_INVALID',
      `${doing}: other readers take the key ${shown} for another one of it`,
    );
  }
  const image = assertShape(IMAGE, value, doing, 'LARDER_CONFIG_INVALID');
  return {
    architecture: image.architecture,
    os: image.os,
    variant: image.variant,
    ...(image.created === '' ? {} : { created: image.created }),
    ...(image.author === '' ? {} : { author: image.author }),
    config: containerConfig(image.config),
    diffIds: image.rootfs.diff_ids.map(parseDiffId),
    history: image.history.map(historyEntry),
  };
}

/** Rejects with LARDER_MANIFEST_INVALID unless the config names one DiffID for each layer of the manifest, in the same order. */
export function checkDiffIds(manifest: ImageManifest, image: ImageConfig, doing = 'image'): void {
  if (manifest.layers.length === image.diffIds.length) return;
  throw new LarderError(
    'LARDER_MANIFEST_INVALID',
    `${doing}: the manifest has ${manifest.layers.length} layers but the config names ${image.diffIds.length}`,
  );
}

/** Undefined where the image does not say. */
export function platformOfConfig(image: ImageConfig): Platform | undefined {
  if (image.os === '' || image.architecture === '') return undefined;
  return normalizePlatform(image.os, image.architecture, image.variant);
}

/** Docker took a single string for a list once; such images are still around. */
const commandLine = v.nullish(v.union([v.array(v.string()), v.string()]));
const map = mapOf(v.unknown());
const integer = v.nullish(v.pipe(v.number(), v.safeInteger()), 0);

const HEALTHCHECK = v.object({
  Test: listOf(v.string()),
  Interval: integer,
  Timeout: integer,
  StartPeriod: integer,
  Retries: integer,
});

const CONFIG = v.object({
  Hostname: optionalText,
  User: optionalText,
  WorkingDir: optionalText,
  StopSignal: optionalText,
  Env: listOf(v.string()),
  Entrypoint: commandLine,
  Cmd: commandLine,
  ExposedPorts: map,
  Volumes: map,
  Labels: mapOf(v.string()),
  Healthcheck: v.nullish(HEALTHCHECK),
});

const HISTORY = v.object({
  created: optionalText,
  created_by: optionalText,
  comment: optionalText,
  empty_layer: v.nullish(v.boolean(), false),
});

/** A config of 4 MiB could have a million, each an object of ours. */
const MAX_HISTORY = 10_000;

const IMAGE = v.object({
  architecture: optionalText,
  os: optionalText,
  variant: optionalText,
  created: optionalText,
  author: optionalText,
  config: v.nullish(CONFIG, {}),
  rootfs: v.object({ type: v.literal('layers'), diff_ids: v.pipe(v.array(v.string()), v.minLength(1)) }),
  history: shortListOf(HISTORY, MAX_HISTORY, 'entries'),
});

function containerConfig(config: v.InferOutput<typeof CONFIG>): ContainerConfig {
  return {
    ...config,
    Entrypoint: listOrOne(config.Entrypoint),
    Cmd: listOrOne(config.Cmd),
    ExposedPorts: Object.keys(config.ExposedPorts),
    Volumes: Object.keys(config.Volumes),
    Healthcheck: config.Healthcheck ?? undefined,
  };
}

function listOrOne(line: readonly string[] | string | null | undefined): readonly string[] | undefined {
  return typeof line === 'string' ? [line] : (line ?? undefined);
}

function historyEntry(entry: v.InferOutput<typeof HISTORY>): HistoryEntry {
  return {
    created: entry.created,
    createdBy: entry.created_by,
    comment: entry.comment,
    emptyLayer: entry.empty_layer,
  };
}
