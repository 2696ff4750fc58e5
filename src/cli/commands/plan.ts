import type { PlannedLayer } from '../../store/docker/layer-survey.js';
import type { PlatformChoice, PullPlan } from '../../store/docker/pull-plan.js';
import { type Command, platformOption } from '../command.js';
import { formatBytes, formatCount, formatTable, shortDigest } from '../format.js';
import { registryConfigOption } from '../registry-config.js';

/** `larder plan REF` */
export const plan: Command = async ({ open, onEvent, signal }, [reference = ''], options) => {
  const own = await registryConfigOption(options);
  const cached = options['refresh'] !== true;
  const data = await (await open()).plan(reference, { onEvent, signal, cached, ...platformOption(options), ...own });
  return { data, text: [head(data), layers(data.layers), foot(data)].join('\n\n') };
};

function head({ reference, digest, imageId, platform, from }: PullPlan): string {
  return formatTable(
    ['image', reference],
    [
      ['digest', digest],
      ...(imageId === undefined ? [] : [['image ID', imageId]]),
      ['platform', `${platform.chosen}: ${reason(platform)}`],
      ...(from.length === 0 ? [] : [['from', from.join(', then ')]]),
    ],
  );
}

function reason({ wanted, wantedBy, match, offered }: PlatformChoice): string {
  const by = {
    request: `${wanted} is asked for`,
    setting: `${wanted} is the setting`,
    machine: `this machine is ${wanted}`,
  }[wantedBy];
  const among = offered.length === 0 ? '' : `; there is ${offered.join(', ')}`;
  if (match === 'only') return `${by}, and there is one image`;
  return match === 'exact' ? `${by}${among}` : `the best that runs where ${by}${among}`;
}

function layers(planned: readonly PlannedLayer[]): string {
  const rows = planned.map(({ digest, state, fetchBytes, size, tarBytes, tarBytesAre }) => [
    shortDigest(digest),
    { have: 'have', partly: 'partly have', fetch: 'fetch' }[state],
    formatBytes(size),
    state === 'have' ? '' : formatBytes(fetchBytes),
    `${tarBytesAre === 'estimated' ? 'about ' : ''}${formatBytes(tarBytes)}`,
  ]);
  return formatTable(['LAYER', 'STATE', 'SIZE', 'TO FETCH', 'ON DISK'], rows);
}

function foot({ isHere, networkBytes, disk, layers: planned }: PullPlan): string {
  const { freeBytes, reservedBytes, atLeastBytes, peakBytes, finalBytes, fits } = disk;
  if (isHere) return 'nothing to fetch';
  const missing = planned.filter(({ state }) => state !== 'have').length;
  const rest = `${formatBytes(freeBytes)} are free, of which ${formatBytes(reservedBytes)} stay so`;
  return [
    `network: ${formatCount(missing, 'layer')}, ${networkBytes} bytes (${formatBytes(networkBytes)})`,
    `disk: about ${formatBytes(peakBytes)} while it runs, ${formatBytes(finalBytes)} afterwards; at least ${formatBytes(atLeastBytes)}`,
    fits ? `${rest}${peakBytes > freeBytes - reservedBytes ? ': it may not fit' : ''}` : `it cannot fit: ${rest}`,
  ].join('\n');
}
