import { imageIdOf } from '../../metadata/records.js';
import { familiarImage } from '../../spec/any-image.js';
import type { Command } from '../command.js';
import { formatAge, formatBytes, formatTable, shortDigest, shortImageName } from '../format.js';

/** `larder images` */
export const images: Command = async ({ open }) => {
  const list = await (await open()).images();
  const nowMs = Date.now();
  const rows = list.map((image) => [
    `${shortImageName(familiarImage(image))}${image.pinned === true ? ' (pinned)' : ''}`,
    shortDigest(imageIdOf(image)),
    image.platform,
    String(image.layers.length),
    formatBytes(image.bytes),
    formatAge(image.createdAtMs, nowMs),
    image.containers.join(', '),
  ]);
  return {
    data: list,
    text:
      list.length === 0
        ? 'no images'
        : formatTable(['IMAGE', 'ID', 'PLATFORM', 'LAYERS', 'SIZE', 'PULLED', 'CONTAINERS'], rows),
  };
};
