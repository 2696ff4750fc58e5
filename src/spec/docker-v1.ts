import * as v from 'valibot';
import type { ErrorCode } from '../errors.js';
import type { DiffId } from './digest.js';
import { parseJson } from './json.js';
import { assertShape, optionalText } from './shape.js';

/** A Docker v1 image manifest, field for field what Mesos's `docker::spec::v1::ImageManifest` has (`v1.proto`). */
export interface DockerV1Manifest {
  readonly id?: string;
  readonly parent?: string;
  readonly comment?: string;
  readonly created?: string;
  readonly container?: string;
  readonly container_config?: DockerV1Config;
  readonly docker_version?: string;
  readonly author?: string;
  readonly config?: DockerV1Config;
  readonly architecture?: string;
  readonly os?: string;
  readonly Size?: number;
}

export interface DockerV1Config {
  readonly Hostname?: string;
  readonly Entrypoint?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly Image?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

export const MAX_V1_BYTES = 4 * 1024 * 1024;

/**
 * A Docker v1 image JSON: `json` of an old `docker save` archive, `v1Compatibility` of a schema 1 manifest, or a modern
 * image's config, which has the same fields. Read as protobuf reads JSON: unknown keys are left alone, null is unset, a
 * single text stands for a list of one, a number may be a text. Rejects with LARDER_CONFIG_INVALID.
 */
export function parseDockerV1(bytes: Uint8Array, doing = 'Docker v1 image'): DockerV1Manifest {
  const { config, container_config, ...image } = assertShape(IMAGE, parse(bytes, doing), doing, CODE);
  return compact({
    ...image,
    config: config === undefined || config === null ? undefined : compact(config),
    container_config:
      container_config === undefined || container_config === null ? undefined : compact(container_config),
  });
}

/** The v1 view of a modern image: what its config says, and the hex of the config's digest for an id, as Docker has it. */
export function dockerV1From(config: Uint8Array, imageId: string, doing?: string): DockerV1Manifest {
  return { id: imageId, ...parseDockerV1(config, doing) };
}

/** A step of an image's history, as the config has it. */
export interface V1History {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: true;
}

/** What only v1 images have (moby, `image/v1`: MakeConfigFromV1Config). */
const V1_ONLY = new Set(['id', 'parent', 'Size', 'parent_id', 'layer_id', 'throwaway']);

/**
 * The config of the image whose topmost layer has this v1 JSON, as Docker makes it when it loads old images: everything
 * is kept but for what only v1 has; the layers' DiffIDs, base first, and their history take its place. The same input
 * gives the same bytes. Rejects with LARDER_CONFIG_INVALID.
 */
export function configFromDockerV1(
  bytes: Uint8Array,
  diffIds: readonly DiffId[],
  history: readonly V1History[],
  doing = 'Docker v1 image',
): Uint8Array {
  const value = parse(bytes, doing);
  assertShape(IMAGE, value, doing, CODE);
  const kept = Object.entries(value as object).filter(([name]) => !V1_ONLY.has(name));
  const config = { ...Object.fromEntries(kept), rootfs: { type: 'layers', diff_ids: diffIds }, history };
  return Buffer.from(goJson(Object.entries(config)));
}

/** As Go writes a map: names in order, and no character that means something in HTML. So the image gets the ID that it has in Docker. */
function goJson(entries: readonly (readonly [string, unknown])[]): string {
  const ordered = entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(Object.fromEntries(ordered)).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A layer's v1 JSON, as far as the chain of layers and the image's history need it. */
export interface V1Layer {
  readonly id: string | undefined;
  readonly parent: string | undefined;
  /** Only said in schema 1: the step changed no file. */
  readonly throwaway: boolean;
  readonly history: V1History;
}

/** Rejects with `code`. */
export function parseV1Layer(bytes: Uint8Array, doing: string, code: ErrorCode): V1Layer {
  const value = parseJson(bytes, { doing, maxBytes: MAX_V1_BYTES, code });
  const { id, parent, throwaway, container_config, ...step } = assertShape(V1_LAYER, value, doing, code);
  const { created, author, comment } = step;
  const command = container_config?.Cmd ?? [];
  return {
    id: textOf(id),
    parent: textOf(parent),
    throwaway,
    history: {
      ...(created === '' ? {} : { created }),
      ...(author === '' ? {} : { author }),
      ...(command.length === 0 ? {} : { created_by: typeof command === 'string' ? command : command.join(' ') }),
      ...(comment === '' ? {} : { comment }),
    },
  };
}

/** In real images 64 hexadecimal digits; the name of one folder, whatever else it is. */
export const layerId = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/, 'not an id'));

const idOrNone = v.nullish(v.union([v.literal(''), layerId], 'not an id'));

const V1_LAYER = v.object({
  id: idOrNone,
  parent: idOrNone,
  throwaway: v.nullish(v.boolean(), false),
  created: optionalText,
  author: optionalText,
  comment: optionalText,
  container_config: v.nullish(v.object({ Cmd: v.nullish(v.union([v.array(v.string()), v.string()])) })),
});

/** Docker writes nothing as the empty text. */
function textOf(id: string | null | undefined): string | undefined {
  return id === null || id === '' ? undefined : id;
}

const CODE = 'LARDER_CONFIG_INVALID';

function parse(bytes: Uint8Array, doing: string): unknown {
  return parseJson(bytes, { doing, maxBytes: MAX_V1_BYTES, code: CODE });
}

const text = v.nullish(v.string());
const list = v.nullish(
  v.union([
    v.array(v.string()),
    v.pipe(
      v.string(),
      v.transform((one) => [one]),
    ),
  ]),
);
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const count = v.nullish(
  v.union([size, v.pipe(v.string(), v.regex(/^\d{1,16}$/, 'expected a whole number'), v.transform(Number), size)]),
);
const notAList = v.check((value: unknown) => !Array.isArray(value), 'a list instead of an object');
const labels = v.nullish(v.pipe(v.unknown(), notAList, v.record(v.string(), v.string())));

const CONFIG = v.object({
  Hostname: text,
  Entrypoint: list,
  Env: list,
  User: text,
  Cmd: list,
  WorkingDir: text,
  Image: text,
  Labels: labels,
});
const config = v.nullish(v.pipe(v.unknown(), notAList, CONFIG));

const IMAGE = v.object({
  id: text,
  parent: text,
  comment: text,
  created: text,
  container: text,
  container_config: config,
  docker_version: text,
  author: text,
  config,
  architecture: text,
  os: text,
  Size: count,
});

type Compact<T> = { readonly [K in keyof T]?: NonNullable<T[K]> };

/** Without what is null or not there: such fields are unset. */
function compact<T extends object>(object: T): Compact<T> {
  const set = Object.entries(object).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(set) as Compact<T>;
}
