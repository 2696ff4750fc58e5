/** What stands in a `docker save` archive (moby: image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format"). */
import * as v from 'valibot';
import { MAX_V1_BYTES, type V1History } from './docker-v1.js';
import { parseJson } from './json.js';
import { MAX_LAYERS, MAX_MANIFEST_BYTES } from './manifest.js';
import { assertShape, listOf, mapOf, optionalText } from './shape.js';

/** One image of `manifest.json`. Names are members of the archive, as written. */
export interface SavedImage {
  readonly config: string;
  readonly repoTags: readonly string[];
  /** Base first. */
  readonly layers: readonly string[];
}

/** One line of `repositories`, the list of archives from before Docker 1.10. */
export interface SavedTag {
  /** `repository:tag`, as written. */
  readonly name: string;
  /** The id of the topmost layer: the name of a folder. */
  readonly id: string;
}

export const MAX_SAVED_IMAGES = 1000;
/** Ids are 64 hexadecimal digits in real archives; anything that is the name of one folder will do. */
const ID = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const ARCHIVE = 'LARDER_ARCHIVE_INVALID';

const name = v.pipe(v.string(), v.maxLength(1024, 'longer than 1024 characters'));
const layerId = v.pipe(v.string(), v.regex(ID, 'not an id'));

const SAVED = v.object({
  images: v.pipe(
    v.array(
      v.object({
        Config: name,
        RepoTags: listOf(name),
        Layers: v.nullish(v.pipe(v.array(name), v.maxLength(MAX_LAYERS, `more than ${MAX_LAYERS} layers`)), []),
      }),
    ),
    v.maxLength(MAX_SAVED_IMAGES, `more than ${MAX_SAVED_IMAGES} images`),
  ),
});

/** `manifest.json`. Rejects with LARDER_ARCHIVE_INVALID. */
export function parseSavedImages(bytes: Uint8Array, doing: string): SavedImage[] {
  const images = parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: ARCHIVE });
  return assertShape(SAVED, { images }, doing, ARCHIVE).images.map(({ Config, RepoTags, Layers }) => ({
    config: Config,
    repoTags: RepoTags,
    layers: Layers,
  }));
}

const REPOSITORIES = v.object({ repositories: mapOf(v.record(name, layerId)) });

/** `repositories`: `{repository: {tag: id}}`. Rejects with LARDER_ARCHIVE_INVALID. */
export function parseRepositories(bytes: Uint8Array, doing: string): SavedTag[] {
  const repositories = parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: ARCHIVE });
  const parsed = assertShape(REPOSITORIES, { repositories }, doing, ARCHIVE).repositories;
  return Object.entries(parsed).flatMap(([repository, tags]) =>
    Object.entries(tags).map(([tag, id]) => ({ name: `${repository}:${tag}`, id })),
  );
}

/** A layer's `json` in the old form, as far as the chain of layers and the image's history need it. */
export interface V1Layer {
  readonly parent: string | undefined;
  readonly history: V1History;
}

const V1_LAYER = v.object({
  parent: v.nullish(v.union([v.literal(''), layerId])),
  created: optionalText,
  author: optionalText,
  comment: optionalText,
  container_config: v.nullish(v.object({ Cmd: v.nullish(v.union([v.array(v.string()), v.string()])) })),
});

/** Rejects with LARDER_ARCHIVE_INVALID. */
export function parseV1Layer(bytes: Uint8Array, doing: string): V1Layer {
  const value = parseJson(bytes, { doing, maxBytes: MAX_V1_BYTES, code: ARCHIVE });
  const {
    parent,
    created,
    author,
    comment,
    container_config: container,
  } = assertShape(V1_LAYER, value, doing, ARCHIVE);
  const command = container?.Cmd ?? [];
  return {
    parent: parent === null || parent === undefined || parent === '' ? undefined : parent,
    history: {
      ...(created === '' ? {} : { created }),
      ...(author === '' ? {} : { author }),
      created_by: typeof command === 'string' ? command : command.join(' '),
      ...(comment === '' ? {} : { comment }),
    },
  };
}
