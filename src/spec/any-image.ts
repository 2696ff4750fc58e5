/** Images of both types by the texts that people write: `alpine`, `oci:/layout`, `appc:example.com/app:1.0`. */
import { appcRequestOf, formatAppcRequest, isAppcName, parseAppcName, platformOfRequest } from './appc-name.js';
import type { AppcImage, Image, ImageType, Secret } from './image.js';
import { absoluteImageName, familiarImageName, formatImageName, parseImageName } from './image-name.js';
import { formatPlatform, hostPlatform, parsePlatform } from './platform.js';

/** What an image is kept under. */
export interface ImageKey {
  readonly type: ImageType;
  /** Canonical. */
  readonly reference: string;
  readonly platform: string;
}

/** How an image is asked for beside its name. */
export interface ImageChoice {
  /** `os/arch[/variant]` */
  readonly platform?: string | undefined;
  readonly cached?: boolean | undefined;
  readonly config?: Secret | undefined;
  readonly defaultLogin?: boolean | undefined;
}

/** The image that a text means; relative paths of archives start at `directory`. Rejects with LARDER_REFERENCE_INVALID. */
export function imageNamed(text: string, directory: string, choice: ImageChoice = {}): Image {
  const { platform, cached, config, defaultLogin } = choice;
  const freshness = cached === undefined ? {} : { cached };
  if (isAppcName(text)) return { ...onPlatform(parseAppcName(text), platform), ...freshness };
  return {
    type: 'docker',
    name: absoluteImageName(text, directory),
    ...(platform === undefined ? {} : { platform }),
    ...freshness,
    ...(config === undefined ? {} : { config }),
    ...(defaultLogin === undefined ? {} : { defaultLogin }),
  };
}

/** What the image that a text means is kept under, on this platform where the text names none. */
export function imageKeyOf(text: string, directory: string, platform: string | undefined): ImageKey {
  const wanted = platform === undefined ? hostPlatform() : parsePlatform(platform);
  if (!isAppcName(text)) {
    const reference = formatImageName(parseImageName(text, directory));
    return { type: 'docker', reference, platform: formatPlatform(wanted) };
  }
  const request = appcRequestOf(parseAppcName(text), wanted);
  return { type: 'appc', reference: formatAppcRequest(request), platform: platformOfRequest(request) };
}

/** The image that was kept under this key. */
export function imageOfKey({ type, reference, platform }: ImageKey): Image {
  return type === 'docker' ? { type, name: reference, platform } : onPlatform(parseAppcName(reference), platform);
}

/** As people write it; parses to the same image again. */
export function familiarImage({ type, reference }: Pick<ImageKey, 'type' | 'reference'>): string {
  return type === 'docker' ? familiarImageName(parseImageName(reference)) : reference;
}

function onPlatform(image: AppcImage, platform: string | undefined): AppcImage {
  if (platform === undefined) return image;
  return { ...image, platform };
}

/** What an image that is to stay is kept under; without a platform: on all of them. */
export function excludedKeyOf(image: Image): Omit<ImageKey, 'platform'> & { readonly platform?: string } {
  if (image.type === 'docker') {
    const reference = formatImageName(parseImageName(image.name));
    const { platform } = image;
    return {
      type: 'docker',
      reference,
      ...(platform === undefined ? {} : { platform: formatPlatform(parsePlatform(platform)) }),
    };
  }
  const request = appcRequestOf(image, hostPlatform());
  const { os, arch } = image.labels ?? {};
  const exact = os === undefined || arch === undefined ? {} : { platform: platformOfRequest(request) };
  return { type: 'appc', reference: formatAppcRequest(request), ...exact };
}
