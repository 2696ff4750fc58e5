import type { GcReport } from '../../store/upkeep/gc-collector.js';
import type { Command } from '../command.js';
import { formatBytes, formatCount } from '../format.js';

/** `larder gc [--dry-run]` */
export const gc: Command = async ({ larder, onEvent, signal }, _args, options) => {
  const report = await (await larder()).collectGarbage({ onEvent, signal, dryRun: options['dryRun'] === true });
  return { data: report, text: sentences(report).join('\n') };
};

function sentences({ due, dryRun, images, removed, freedBytes, short }: GcReport): string[] {
  if (due === undefined) return ['nothing to do: there is room enough'];
  const [would, freed] = dryRun ? ['would remove', 'free'] : ['removed', 'freed'];
  const count = `${formatCount(images.length, 'image')} and ${formatCount(removed.length, 'file or directory')}`;
  return [
    due,
    ...images.map(({ name, bytes, why }) => `${name}: ${formatBytes(bytes)}, ${why}`),
    `${would} ${count.replace('directorys', 'directories')}, ${freed} ${formatBytes(freedBytes)}`,
    ...(short ? ['not enough: what is left is excluded, pinned, in use, or too young'] : []),
  ];
}
