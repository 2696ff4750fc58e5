/** A registry of what is too much: layers are made while they are sent, whole, and stop when the client hangs up. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { digestOf } from '../../src/spec/digest.js';
import { hostPlatform } from '../../src/spec/platform.js';
import type { ServedLayer } from './hostile-layers.js';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';

interface Served {
  readonly mediaType: string;
  readonly size: number;
  pieces(): Iterable<Uint8Array>;
}

export class HostileRegistry implements AsyncDisposable {
  readonly #server: Server;
  /** By digest or name. */
  readonly #served = new Map<string, Served>();

  constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<HostileRegistry> {
    const server = createServer();
    const registry = new HostileRegistry(server);
    server.on('request', (request, response) => {
      registry.#answer(request, response).catch(() => response.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return registry;
  }

  /** Publishes an image of these layers, base first; answers its reference. */
  addImage(name: string, layers: readonly ServedLayer[], config: object = {}): string {
    const { os, architecture } = hostPlatform();
    const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
    const configBytes = json({ os, architecture, config, rootfs });
    this.#add(digestOf(configBytes), CONFIG_TYPE, configBytes);
    for (const layer of layers) this.#served.set(layer.digest, layer);
    const manifest = {
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { mediaType: CONFIG_TYPE, digest: digestOf(configBytes), size: configBytes.length },
      layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    };
    return this.addManifest(name, json(manifest));
  }

  /** Publishes these bytes as a manifest; answers the reference. */
  addManifest(name: string, bytes: Uint8Array): string {
    this.#add(name, MANIFEST_TYPE, bytes);
    this.#add(digestOf(bytes), MANIFEST_TYPE, bytes);
    const { port } = this.#server.address() as AddressInfo;
    return `127.0.0.1:${port}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  #add(key: string, mediaType: string, bytes: Uint8Array): void {
    this.#served.set(key, { mediaType, size: bytes.length, pieces: () => [bytes] });
  }

  /** OCI distribution-spec, "Pulling manifests" and "Pulling blobs", without ranges. */
  async #answer({ url = '', method }: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, name = '', kind, wanted = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)$/.exec(url) ?? [];
    const served = this.#served.get(wanted.includes(':') ? wanted : name);
    if (kind === undefined || served === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': served.mediaType, 'content-length': served.size });
    if (method === 'HEAD') response.end();
    else await pipeline(Readable.from(served.pieces()), response);
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
