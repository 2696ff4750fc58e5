/** A store of Appc images over a directory of its own, and a web server of this process that has the ACIs. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Assembly } from '../../src/assemble.js';
import type { Finding } from '../../src/check.js';
import { configOf, type Flags } from '../../src/config.js';
import type { LarderEvent } from '../../src/events.js';
import { StoreLock } from '../../src/linux/store-lock.js';
import type { AppcImage } from '../../src/spec/image.js';
import type { AppcStore } from '../../src/store/appc/appc-store.js';
import type { ImageInfo, PruneOptions } from '../../src/store/store.js';
import { aciFileName, type BuiltAci } from '../../src/testing/aci-builder.js';
import type { StoreProcess } from '../../src/testing/conformance/store.js';
import { AppcServer, type Certificate, type Route } from '../registry/appc-server.js';
import { startNode } from './child.js';
import { makeDirectory, removeDirectory } from './temporary.js';

const CHILD = fileURLToPath(new URL('./appc-get-child.js', import.meta.url));

export class AppcLab implements AsyncDisposable {
  readonly directory: string;
  readonly root: string;
  readonly server: AppcServer;
  readonly events: LarderEvent[] = [];
  readonly #flags: Partial<Flags>;
  readonly #opened: Assembly[] = [];

  private constructor(directory: string, server: AppcServer, flags: Partial<Flags>) {
    this.directory = directory;
    this.root = join(directory, 'store');
    this.server = server;
    this.#flags = flags;
  }

  static async start(flags: Partial<Flags> = {}, certificate?: Certificate): Promise<AppcLab> {
    return new AppcLab(makeDirectory(), await AppcServer.start(certificate), flags);
  }

  get flags(): Flags {
    const prefix = { appc_simple_discovery_uri_prefix: `${this.server.url}/acis/` };
    return { root: this.root, owner: 'suite', max_parallel_layers: 3, ...prefix, ...this.#flags };
  }

  publish(...acis: readonly BuiltAci[]): void {
    for (const aci of acis) this.server.routes.set(pathOf(aci), aci.bytes);
  }

  route(aci: BuiltAci, route: Route): void {
    this.server.routes.set(pathOf(aci), route);
  }

  /** How often each of them was asked for. */
  counts(...acis: readonly BuiltAci[]): number[] {
    return acis.map((aci) => this.server.requests.filter((url) => url === pathOf(aci)).length);
  }

  /** With other settings, and without those that are named. */
  async open(flags: Partial<Flags> = {}, without: readonly (keyof Flags)[] = []): Promise<Assembly> {
    const all: Flags = { ...this.flags, ...flags };
    for (const name of without) delete all[name];
    const assembly = await Assembly.open(configOf(all));
    this.#opened.push(assembly);
    return assembly;
  }

  /** The one that most tests need. */
  async assembly(): Promise<Assembly> {
    return this.#opened[0] ?? this.open();
  }

  async store(): Promise<AppcStore> {
    return (await this.assembly()).appc();
  }

  async get(image: BuiltAci | AppcImage, more: Partial<AppcImage> = {}, backend = 'copy'): Promise<ImageInfo> {
    const onEvent = (event: LarderEvent): void => void this.events.push(event);
    return (await this.store()).get({ ...imageOf(image), ...more }, backend, { onEvent });
  }

  /** As a provisioner calls it, and the deletions after it. */
  async prune(
    excluded: readonly AppcImage[] = [],
    active: ReadonlySet<string> = new Set(),
    options: PruneOptions = {},
  ): Promise<void> {
    const assembly = await this.assembly();
    {
      using _exclusive = await new StoreLock(assembly.layout).exclusive();
      await (await assembly.appc()).prune(excluded, active, options);
    }
    if (options.dryRun !== true) await (await assembly.retention('appc')).sweep(options);
  }

  getInProcess(image: AppcImage): StoreProcess {
    return startNode(CHILD, [JSON.stringify(this.flags), JSON.stringify(image)]);
  }

  async findings(deep = false): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    for await (const finding of (await this.assembly()).check({ deep })) findings.push(finding);
    return findings;
  }

  warnings(): string[] {
    return this.events.filter((event) => event.type === 'warning').map(({ message }) => message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const assembly of this.#opened) await assembly.close();
    await this.server[Symbol.asyncDispose]();
    removeDirectory(this.directory);
  }
}

/** Asks for exactly what was built. */
export function imageOf(image: BuiltAci | AppcImage): AppcImage {
  if ('type' in image) return image;
  return { type: 'appc', name: image.name, labels: image.labels };
}

function pathOf(aci: Pick<BuiltAci, 'name' | 'labels'>): string {
  return `/acis/${aciFileName(aci)}`;
}
