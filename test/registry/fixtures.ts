import type { LarderEvent } from '../../src/events.js';
import { type FetchBlobOptions, fetchBlob } from '../../src/registry/fetch-blob.js';
import { RegistryClient, type RegistryOptions } from '../../src/registry/registry-client.js';
import { type Digest, digestOf } from '../../src/spec/digest.js';
import { OCI_CONFIG, OCI_MANIFEST } from '../../src/spec/media-types.js';
import { parseReference, type Reference } from '../../src/spec/reference.js';
import type { FakeImage, FakeRegistry } from '../../src/testing/fake-registry.js';

export const CONFIG = Buffer.from('{"rootfs":{"type":"layers","diff_ids":[]}}');
/** Not a tar: this folder does not look into layers. No two bytes in a row are equal to their neighbours' offsets. */
export const LAYER = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
export const LAYER_DIGEST = digestOf(LAYER);

export const MANIFEST = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: digestOf(CONFIG), size: CONFIG.length },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: LAYER_DIGEST, size: LAYER.length }],
  }),
);
export const MANIFEST_DIGEST = digestOf(MANIFEST);

export const IMAGE: FakeImage = {
  name: 'team/app',
  manifest: MANIFEST,
  mediaType: OCI_MANIFEST,
  blobs: [CONFIG, LAYER],
};

export function referenceTo(registry: FakeRegistry, rest = 'team/app'): Reference {
  return parseReference(`${registry.host}/${rest}`);
}

/** A client that is quick to give up. */
export function clientWith(options: RegistryOptions = {}): {
  readonly client: RegistryClient;
  readonly events: LarderEvent[];
} {
  const events: LarderEvent[] = [];
  const client = new RegistryClient({
    timeouts: { backoffMs: 2, stallMs: 1500, connectMs: 3000 },
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { client, events };
}

/** The whole layer, as a worker gets it. */
export async function download(
  client: RegistryClient,
  reference: Reference,
  blob: { readonly digest: Digest; readonly size: number; readonly offset?: number } = {
    digest: LAYER_DIGEST,
    size: LAYER.length,
  },
  options: FetchBlobOptions = {},
): Promise<Buffer> {
  const broker = client.broker(reference);
  const chunks: Uint8Array[] = [];
  for await (const chunk of fetchBlob(blob, blob.offset ?? 0, (request) => broker.ask(request), options))
    chunks.push(chunk);
  return Buffer.concat(chunks);
}
