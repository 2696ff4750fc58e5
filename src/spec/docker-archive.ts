/** What stands in a `docker save` archive (moby: image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format"). */
import * as v from 'valibot';
import { layerId } from './docker-v1.js';
import { parseJson } from './json.js';
import { MAX_LAYERS, MAX_MANIFEST_BYTES } from './manifest.js';
import { assertShape, listOf, mapOf } from './shape.js';

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
/** Of all images of an archive. */
export const MAX_SAVED_TAGS = 10_000;
const ARCHIVE = 'LARDER_ARCHIVE_INVALID';

const name = v.pipe(v.string(), v.maxLength(1024, 'longer than 1024 characters'));

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
    v.check((images) => areFew(images.map(({ RepoTags }) => RepoTags.length)), `more than ${MAX_SAVED_TAGS} names`),
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

const REPOSITORIES = v.object({
  repositories: v.pipe(
    mapOf(v.record(name, layerId)),
    v.check(
      (all) => areFew(Object.values(all).map((tags) => Object.keys(tags).length)),
      `more than ${MAX_SAVED_TAGS} names`,
    ),
  ),
});

/** `repositories`: `{repository: {tag: id}}`. Rejects with LARDER_ARCHIVE_INVALID. */
export function parseRepositories(bytes: Uint8Array, doing: string): SavedTag[] {
  const repositories = parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: ARCHIVE });
  const parsed = assertShape(REPOSITORIES, { repositories }, doing, ARCHIVE).repositories;
  return Object.entries(parsed).flatMap(([repository, tags]) =>
    Object.entries(tags).map(([tag, id]) => ({ name: `${repository}:${tag}`, id })),
  );
}

/** Whether the names are few enough: each costs the parsing of a reference. */
function areFew(counts: readonly number[]): boolean {
  return counts.reduce((sum, count) => sum + count, 0) <= MAX_SAVED_TAGS;
}
