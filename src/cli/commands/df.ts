import { familiarImage } from '../../spec/any-image.js';
import type { StoreUsage } from '../../store/upkeep/upkeep.js';
import type { Command } from '../command.js';
import { formatAge, formatBytes, formatCount, formatTable } from '../format.js';

/** `larder df [--containers]` */
export const df: Command = async ({ larder }, _args, options) => {
  const usage = await (await larder()).df({ containers: options['containers'] === true });
  return { data: usage, text: [images(usage), totals(usage)].join('\n\n') };
};

function images(usage: StoreUsage): string {
  if (usage.images.length === 0) return 'no images';
  const nowMs = Date.now();
  const rows = [...usage.images]
    .sort((a, b) => b.aloneBytes - a.aloneBytes)
    .map((image) => [
      familiarImage(image),
      image.platform,
      formatBytes(image.aloneBytes),
      formatBytes(image.sharedBytes),
      formatAge(image.lastUsedAtMs, nowMs),
      image.pinned ? 'pinned' : '',
    ]);
  return formatTable(['IMAGE', 'PLATFORM', 'ALONE', 'SHARED', 'USED', ''], rows);
}

function totals(usage: StoreUsage): string {
  const { disk, containers, gcBytes } = usage;
  const rows = [
    [formatCount(usage.layers, 'layer'), formatBytes(usage.layerBytes)],
    ['made from them', formatBytes(usage.derivedBytes)],
    [formatCount(usage.documents, 'document'), formatBytes(usage.documentBytes)],
    [formatCount(usage.downloads, 'download'), formatBytes(usage.downloadBytes)],
    ['the store', formatBytes(usage.storeBytes)],
    ...(containers ?? []).map(({ container, bytes }) => [`container ${container}`, formatBytes(bytes)]),
    ...(gcBytes === undefined ? [] : [['waits to be deleted', formatBytes(gcBytes)]]),
    ['the file system', `${formatBytes(disk.usedBytes)} of ${formatBytes(disk.sizeBytes)}`],
  ];
  return formatTable(['WHAT', 'BYTES'], rows);
}
