/** What a benchmark must know of a registry: what an image has, and that its blobs are in the server's memory. */
import { layerCompressionOf } from '../src/spec/media-types.js';
import { openInflater } from '../src/tar/compression.js';

export interface RemoteLayer {
  readonly url: string;
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}

export interface RemoteImage {
  /** `repository:tag`. */
  readonly name: string;
  readonly layers: readonly RemoteLayer[];
  /** Bytes of all layers as transferred. */
  readonly size: number;
}

interface Manifest {
  readonly layers?: readonly { readonly digest: string; readonly size: number; readonly mediaType: string }[];
}

const ACCEPT = 'application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json';

/** An image of one platform; plain HTTP. */
export async function readImage(host: string, name: string): Promise<RemoteImage> {
  const [repository = '', tag = 'latest'] = name.split(':');
  const answer = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { headers: { accept: ACCEPT } });
  if (!answer.ok) throw new Error(`${host}/${name}: the registry answers ${answer.status}`);
  const manifest = (await answer.json()) as Manifest;
  if (manifest.layers === undefined) throw new Error(`${host}/${name}: not an image of one platform`);
  const layers = manifest.layers.map((layer) => ({
    ...layer,
    url: `http://${host}/v2/${repository}/blobs/${layer.digest}`,
  }));
  return { name: `${repository}:${tag}`, layers, size: layers.reduce((sum, { size }) => sum + size, 0) };
}

/** Bytes of all layers together as tars. */
export async function uncompressedSize(image: RemoteImage): Promise<number> {
  let total = 0;
  for (const { url, mediaType } of image.layers) {
    const inflater = await openInflater(layerCompressionOf(mediaType, 'bench'));
    const count = (bytes: Uint8Array) => {
      total += bytes.length;
    };
    try {
      const { body } = await fetch(url);
      if (body !== null) for await (const chunk of body) await inflater.write(chunk, count);
      await inflater.end(count);
    } finally {
      inflater.close();
    }
  }
  return total;
}

/** Reads every layer once and forgets it: the server's disk is not what is measured. */
export async function warmRegistry(image: RemoteImage): Promise<void> {
  for (const { url } of image.layers) {
    const { body } = await fetch(url);
    if (body !== null) for await (const _ of body);
  }
}
