import type { PruneReport } from '../../larder.js';
import { type Command, listOption, platformOption } from '../command.js';
import { formatBytes, formatCount } from '../format.js';

/** `larder remove REF…` */
export const remove: Command = async ({ open, onEvent, signal }, references, options) => {
  const store = await open();
  const reports: PruneReport[] = [];
  for (const reference of references)
    reports.push(await store.remove(reference, { onEvent, signal, ...platformOption(options) }));
  const report = sum(reports);
  // What is big is deleted while this is read: the command ends when that is done.
  return { data: report, text: sentence(report, 'freeing') };
};

/** `larder prune [--exclude REF]… [--all] [--dry-run]` */
export const prune: Command = async ({ open, onEvent, signal }, _args, options) => {
  const dryRun = options['dryRun'] === true;
  const all = options['all'] === true;
  const report = await (await open()).prune({ onEvent, signal, dryRun, all, exclude: listOption(options, 'exclude') });
  const lines = dryRun ? [...report.images, ...report.layers] : report.images;
  return { data: report, text: [...lines, sentence(report, dryRun ? undefined : 'freed')].join('\n') };
};

function sum(reports: readonly PruneReport[]): PruneReport {
  return {
    images: reports.flatMap((report) => report.images),
    layers: reports.flatMap((report) => report.layers),
    bytes: reports.reduce((total, report) => total + report.bytes, 0),
  };
}

/** `freeing`: undefined where nothing goes. */
function sentence({ images, layers, bytes }: PruneReport, freeing: 'freed' | 'freeing' | undefined): string {
  const what = `${formatCount(images.length, 'image')}, ${formatCount(layers.length, 'layer')}`;
  return freeing === undefined
    ? `would remove ${what}, ${formatBytes(bytes)}`
    : `removed ${what}, ${freeing} ${formatBytes(bytes)}`;
}
