/**
 * ▸ A registry that goes wrong at one place of a pull, in one of the ways of {@link FAULTS}: for tests of what pulls from
 * it. It wants a login, so that where credentials go can be seen.
 *
 *     await using registry = await FaultRegistry.start();
 *     registry.arm('reset', 'last-layer');
 *     await using larder = await openLarder({ root, docker_config: registry.login });
 *     await using image = await larder.pull(registry.reference);
 *     assert.deepEqual(registry.strayCredentials(), []);
 */
import { randomBytes } from 'node:crypto';
import { type FakeRegistry, type RegistryRequest, startRegistry } from './fake-registry.js';
import { FAULTS, type Fault, type FaultName, type FaultWorld } from './faults.js';
import { type BuiltImage, buildImage } from './image-builder.js';
import { sampleLayer } from './image-source.js';
import { OtherHosts } from './other-hosts.js';

/** What a pull of an image asks for, in this order; layers at the same time. */
export const FAULT_PLACES = ['token', 'manifest', 'config', 'first-layer', 'last-layer'] as const;
export type FaultPlace = (typeof FAULT_PLACES)[number];

export interface FaultRegistryOptions {
  /** Default: of two layers with 20 KB each that do not compress. */
  readonly image?: BuiltImage;
  /** Where redirects and realms lead; shared by several registries, or one's own where it is left out. */
  readonly hosts?: OtherHosts;
  /** Address to listen on. Default 127.0.0.1. */
  readonly address?: string;
}

export class FaultRegistry implements AsyncDisposable {
  readonly registry: FakeRegistry;
  readonly image: BuiltImage;
  readonly hosts: OtherHosts;
  readonly #password: string;
  readonly #signatures: string[] = [];
  readonly #ownsHosts: boolean;

  constructor(registry: FakeRegistry, image: BuiltImage, hosts: OtherHosts, password: string, ownsHosts: boolean) {
    this.registry = registry;
    this.image = image;
    this.hosts = hosts;
    this.#password = password;
    this.#ownsHosts = ownsHosts;
  }

  static async start({ image = sampleImage(), hosts, address }: FaultRegistryOptions = {}): Promise<FaultRegistry> {
    const password = `pass-${randomBytes(12).toString('hex')}`;
    const registry = await startRegistry({
      auth: { type: 'bearer', username: USER, password },
      images: [{ name: NAME, ...image }],
      ...(address === undefined ? {} : { host: address }),
    });
    return new FaultRegistry(registry, image, hosts ?? (await OtherHosts.start()), password, hosts === undefined);
  }

  get reference(): string {
    return `${this.registry.host}/${NAME}:latest`;
  }

  /** A Docker `config.json`, as the setting `docker_config` takes it. */
  get login(): { readonly auths: Readonly<Record<string, { readonly auth: string }>> } {
    return { auths: { [this.registry.host]: { auth: this.#basic } } };
  }

  /** From now on answers at the place are so; those elsewhere are right. */
  arm(name: FaultName, place: FaultPlace): void {
    const fault: Fault = FAULTS[name];
    let nth = 0;
    this.registry.setFault((request) => {
      if (this.placeOf(request) !== place) return undefined;
      if (fault.anybody === undefined && request.headers.authorization === undefined) return undefined;
      if (nth >= (fault.times ?? Number.POSITIVE_INFINITY)) return undefined;
      return fault.answer(this.#world(place, request.url), nth++);
    });
  }

  /** All is well again. */
  disarm(): void {
    this.registry.setFault(undefined);
  }

  /** What a request is for; undefined for the probe of `/v2/` and for what there is not. */
  placeOf({ url }: Pick<RegistryRequest, 'url'>): FaultPlace | undefined {
    if (url.startsWith('/token')) return 'token';
    if (url.includes('/manifests/')) return 'manifest';
    const { configDigest, layers } = this.image;
    if (url.includes(configDigest)) return 'config';
    if (url.includes(layers[0]?.digest ?? NAME)) return 'first-layer';
    return url.includes(layers.at(-1)?.digest ?? NAME) ? 'last-layer' : undefined;
  }

  /** What nobody but the registry may be sent. */
  get credentials(): readonly string[] {
    return [this.#password, this.#basic, ...this.registry.tokens];
  }

  /** What is to be in no message, event or file: credentials, and signatures of addresses. */
  get secrets(): readonly string[] {
    return [...this.credentials, ...this.#signatures];
  }

  /** Requests that carried a credential of this registry to another host: there must be none. */
  strayCredentials(): readonly string[] {
    const { credentials } = this;
    return this.hosts.received.filter((text) => credentials.some((secret) => text.includes(secret)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry.close();
    if (this.#ownsHosts) await this.hosts[Symbol.asyncDispose]();
  }

  get #basic(): string {
    return Buffer.from(`${USER}:${this.#password}`).toString('base64');
  }

  #world(place: FaultPlace, url: string): FaultWorld {
    const bytes = this.#bytesAt(place);
    return {
      hosts: this.hosts,
      origin: this.registry.url,
      url,
      bytes,
      signedUrl: (kind) => {
        const { url, signature } = this.hosts.store(bytes, kind);
        this.#signatures.push(signature);
        return url;
      },
    };
  }

  #bytesAt(place: FaultPlace): Buffer {
    const { manifest, config, layers } = this.image;
    const none = Buffer.from('{"token":"of-nobody","expires_in":300}');
    const { blob: first = none } = layers[0] ?? {};
    const { blob: last = none } = layers.at(-1) ?? {};
    return Buffer.from({ token: none, manifest, config, 'first-layer': first, 'last-layer': last }[place]);
  }
}

const NAME = 'team/app';
const USER = 'somebody';

function sampleImage(): BuiltImage {
  const layers = [sampleLayer('first', 20_000), sampleLayer('last', 20_000)];
  return buildImage({ layers: layers.map((tar) => ({ tar })) });
}
