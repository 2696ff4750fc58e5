import { type Command, platformOption } from '../command.js';
import { jsonText } from '../format.js';

/** `larder inspect REF` */
export const inspect: Command = async ({ larder, onEvent, signal }, [reference = ''], options) => {
  const store = await larder();
  await using image = await store.pull(reference, { onEvent, signal, ...platformOption(options) });
  const { record, info, config } = image;
  const data = {
    type: record.type,
    reference: record.reference,
    platform: record.platform,
    digest: record.digest,
    manifest: record.manifest,
    imageId: image.imageId,
    created: config?.created,
    author: config?.author,
    layers: record.layers.map((layer, i) => ({ ...layer, path: info.layers[i] })),
    runtime: info.runtime,
    config: config?.config,
    history: config?.history,
    appcManifest: info.appcManifest,
    appcImages: info.appcImages,
    configPath: info.config,
  };
  return { data, text: jsonText(data) };
};
