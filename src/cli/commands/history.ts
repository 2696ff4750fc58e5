import type { TagEntry } from '../../store/docker/tag-history.js';
import { type Command, platformOption } from '../command.js';
import { formatTable, shortDigest } from '../format.js';

/** `larder history REF` */
export const history: Command = async ({ open }, [reference = ''], options) => {
  const entries = await (await open()).history(reference, platformOption(options));
  if (entries.length === 0) return { data: entries, text: `${reference}: it was never pulled into this store` };
  const rows = entries.map((entry) => [
    timeOf(entry.atMs),
    timeOf(entry.seenMs),
    entry.digest,
    entry.imageId === '' ? '' : shortDigest(entry.imageId),
    entry.platform,
    `${STATES[entry.state]}${entry.how === 'taken-back' ? ' (taken back)' : ''}`,
  ]);
  return { data: entries, text: formatTable(['SINCE', 'LAST SEEN', 'DIGEST', 'IMAGE', 'PLATFORM', 'STATE'], rows) };
};

const STATES: Readonly<Record<TagEntry['state'], string>> = {
  current: 'current',
  kept: 'kept by another name',
  here: 'here until the next prune',
  gone: 'gone',
};

/** To the second, in UTC: for `--as-of`, too. */
function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
