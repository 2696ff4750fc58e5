/** `--volume PLACE=IMAGE[,rw]`: images that a container has beside its own. */
import { LarderError } from '../errors.js';
import { imageNamed } from '../spec/any-image.js';
import type { Image } from '../spec/image.js';
import { listOption, platformOption } from './command.js';

export interface VolumeOption {
  /** What stands before `=`: a name for `provision`, a path in the container for `run`. */
  readonly place: string;
  readonly image: Image;
  readonly readOnly: boolean;
}

/** Rejects with LARDER_REQUEST_INVALID, LARDER_REFERENCE_INVALID. */
export function volumeOptions(options: Readonly<Record<string, unknown>>): VolumeOption[] {
  const choice = { ...platformOption(options), ...(options['refresh'] === true ? { cached: false } : {}) };
  return listOption(options, 'volume').map((text) => {
    const [, place, name, mode] = /^([^=]+)=(.+?)(?:,(ro|rw))?$/s.exec(text) ?? [];
    if (place !== undefined && name !== undefined)
      return { place, image: imageNamed(name, process.cwd(), choice), readOnly: mode !== 'rw' };
    throw new LarderError('LARDER_REQUEST_INVALID', `--volume ${JSON.stringify(text)}: not NAME=IMAGE[,rw]`);
  });
}
