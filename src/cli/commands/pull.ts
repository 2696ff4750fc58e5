import { LarderError } from '../../errors.js';
import type { PulledFacts } from '../../larder-api.js';
import { imageIdOf } from '../../metadata/records.js';
import type { ImageInfo } from '../../store/store.js';
import { type Command, platformOption, textOption } from '../command.js';
import { formatBytes, formatCount, shortDigest } from '../format.js';
import { registryConfigOption } from '../registry-config.js';

/** `larder pull REF…` */
export const pull: Command = async ({ open, onEvent, signal }, references, options) => {
  const own = await registryConfigOption(options);
  const store = await open();
  const pulled = [];
  for (const reference of references) {
    const request = { onEvent, signal, ...freshness(options), ...platformOption(options), ...own };
    await using image = await store.pull(reference, request);
    pulled.push(describe(image));
  }
  return {
    data: pulled.length === 1 ? pulled[0] : pulled,
    text: pulled.map(sentence).join('\n'),
  };
};

/** `larder rollback REF [DIGEST]` */
export const rollback: Command = async ({ open, onEvent, signal }, [reference = '', to], options) => {
  const own = await registryConfigOption(options);
  const request = { onEvent, signal, ...(to === undefined ? {} : { to }), ...platformOption(options), ...own };
  await using image = await (await open()).rollback(reference, request);
  const data = describe(image);
  return {
    data,
    text: `${sentence(data)}\n${data.reference} is ${data.digest} again, until it is pulled with --refresh`,
  };
};

function sentence({ reference, imageId, platform, layers, size }: PulledSummary): string {
  // Archives have tars as they are.
  const how = layers.every(({ mediaType }) => mediaType.endsWith('.tar')) ? '' : ' compressed';
  return `${reference}  ${shortDigest(imageId)}  ${platform}  ${formatCount(layers.length, 'layer')}, ${formatBytes(size)}${how}`;
}

function freshness(options: Readonly<Record<string, unknown>>): { readonly cached?: boolean; readonly asOf?: string } {
  const asOf = textOption(options, 'asOf');
  if (asOf === undefined) return { cached: options['refresh'] !== true };
  if (options['refresh'] !== true) return { asOf };
  throw new LarderError('LARDER_REQUEST_INVALID', 'pull: --refresh wants what there is now, --as-of what there was');
}

/** Whose layer it is, where each layer is an image of its own. */
function memberOf({ appcImages }: ImageInfo, i: number): { readonly imageId?: string; readonly name?: string } {
  const member = appcImages?.[i];
  return member === undefined ? {} : { imageId: member.id, name: member.name };
}

interface PulledSummary {
  readonly reference: string;
  readonly platform: string;
  readonly digest: string;
  readonly manifest: string;
  readonly imageId: string;
  /** Bytes as transferred. */
  readonly size: number;
  readonly layers: readonly {
    readonly diffId: string;
    readonly digest: string;
    readonly size: number;
    readonly mediaType: string;
    readonly path: string;
    readonly imageId?: string;
    readonly name?: string;
  }[];
}

function describe({ record, info }: PulledFacts): PulledSummary {
  return {
    reference: record.reference,
    platform: record.platform,
    digest: record.digest,
    manifest: record.manifest,
    imageId: imageIdOf(record),
    size: record.layers.reduce((sum, layer) => sum + layer.size, 0),
    layers: record.layers.map((layer, i) => ({ ...layer, path: info.layers[i] ?? '', ...memberOf(info, i) })),
  };
}
