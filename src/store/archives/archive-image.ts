/** One image found in an archive: its facts, and where in which file each of its layers lies. */
import { LarderError } from '../../errors.js';
import type { ImageLayer } from '../../metadata/records.js';
import type { Digest } from '../../spec/digest.js';
import { formatInside, type ImageInside } from '../../spec/image-name.js';
import type { ImageFacts, LayerOrigin } from '../puller.js';
import type { ArchiveFile } from './archive-files.js';

export interface ArchiveImage {
  readonly facts: ImageFacts;
  /** By the digest of the layer as it lies there. */
  readonly places: ReadonlyMap<Digest, ArchiveFile>;
}

/** What an archive says of one of its images, for choosing among several and for messages. */
export interface ListedImage {
  readonly names: readonly string[];
}

/** What to take: what a name says is inside, the image of a digest, or the only one that there is. */
export type ArchiveChoice = ImageInside | { readonly kind: 'digest'; readonly digest: Digest } | undefined;

const SHOWN = 20;
const SHOWN_NAMES = 3;
const SHOWN_LENGTH = 200;

export function originIn({ places }: ArchiveImage, { digest }: Pick<ImageLayer, 'digest'>): LayerOrigin {
  const place = places.get(digest);
  if (place === undefined) throw new LarderError('LARDER_INTERNAL', `layer ${digest}: it is not in the archive`);
  return { kind: 'file', path: place.path, offset: place.offset };
}

/** `docker.io/library/a:1, @1`: the images by their names, by their numbers where they have none. */
export function listOf(images: readonly ListedImage[]): string {
  const all = images.map(({ names }, i) => (names.length === 0 ? `@${i}` : shownNames(names)));
  return all.length <= SHOWN ? all.join(', ') : `${all.slice(0, SHOWN).join(', ')} and ${all.length - SHOWN} more`;
}

function shownNames(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN_NAMES).map((name) => name.slice(0, SHOWN_LENGTH));
  return [...shown, ...(names.length > SHOWN_NAMES ? ['…'] : [])].join(' or ');
}

/** For messages, and to compare references by. */
export function textOfChoice(choice: NonNullable<ArchiveChoice>): string {
  return choice.kind === 'digest' ? choice.digest : formatInside(choice);
}

export function nothingOfThatName(doing: string, choice: ArchiveChoice, images: readonly ListedImage[]): LarderError {
  const wanted = choice === undefined ? '' : ` ${textOfChoice(choice)}`;
  return new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: there is no image${wanted} in it`, {
    hint: images.length === 0 ? 'it holds no image' : `it holds ${listOf(images)}`,
  });
}

export function severalImages(doing: string, images: readonly ListedImage[]): LarderError {
  return new LarderError('LARDER_REFERENCE_INVALID', `${doing}: it holds ${images.length} images, and none was named`, {
    hint: `put one of these behind the path: ${listOf(images)}`,
  });
}
