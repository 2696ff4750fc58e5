import { familiarImage } from '../../spec/any-image.js';
import type { Command } from '../command.js';
import { formatAge, formatBytes, formatTable, shortDigest, shortImageName } from '../format.js';

/** `larder images` */
export const images: Command = async ({ open }, _args, options) => {
  const store = await open();
  if (options['json'] === true) return { data: await store.images() };
  const list = await store.overview();
  const nowMs = Date.now();
  const rows = list.map((image) => [
    `${shortImageName(familiarImage(image))}${image.pinned ? ' (pinned)' : ''}`,
    shortDigest(image.imageId),
    image.platform,
    String(image.layers),
    formatBytes(image.bytes),
    formatAge(image.createdAtMs, nowMs),
    image.containers.join(', '),
  ]);
  if (list.length === 0) return { text: 'no images' };
  return { text: formatTable(['IMAGE', 'ID', 'PLATFORM', 'LAYERS', 'SIZE', 'PULLED', 'CONTAINERS'], rows) };
};
