import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessGroup } from './process-group.js';
import { pathsOf } from './programs.js';
import type { Tool } from './tool.js';

/** skopeo copies the image into an OCI layout, umoci unpacks it from there: each root filesystem is a full copy. */
export class SkopeoUmoci implements Tool {
  readonly name = 'skopeo+umoci';
  readonly #group: ProcessGroup;
  readonly #directory: string;
  readonly #layout: string;

  constructor(group: ProcessGroup, directory: string) {
    this.#group = group;
    this.#directory = directory;
    this.#layout = join(directory, 'layout');
  }

  paths(): readonly string[] {
    return pathsOf('skopeo', 'umoci');
  }

  async version(): Promise<string> {
    const [skopeo, umoci] = [
      await this.#group.call('skopeo', ['--version']),
      await this.#group.call('umoci', ['--version']),
    ];
    return `${skopeo.split(' commit', 1)[0]}, ${umoci.split('\n', 1)[0]}`;
  }

  async start(): Promise<void> {
    mkdirSync(join(this.#directory, 'bundles'), { recursive: true });
  }

  async stop(): Promise<void> {}

  async touch(): Promise<void> {
    await this.version();
  }

  async pull(reference: string): Promise<void> {
    await this.#group.call('skopeo', [
      'copy',
      '-q',
      '--src-tls-verify=false',
      `docker://${reference}`,
      this.#image('oci:'),
    ]);
  }

  async pullAndProvision(reference: string, id: string): Promise<void> {
    await this.pull(reference);
    await this.provision(reference, id);
  }

  async provision(_reference: string, id: string): Promise<void> {
    await this.#group.call('umoci', ['unpack', '--image', this.#image(), this.#bundle(id)]);
  }

  async entries(id: string): Promise<readonly string[]> {
    return readdirSync(join(this.#bundle(id), 'rootfs'));
  }

  async destroy(id: string): Promise<void> {
    await this.#group.call('rm', ['-rf', this.#bundle(id)]);
  }

  async remove(): Promise<void> {
    await this.#group.call('umoci', ['rm', '--image', this.#image()]);
    await this.#group.call('umoci', ['gc', '--layout', this.#layout]);
    rmSync(this.#layout, { recursive: true });
  }

  #image(transport = ''): string {
    return `${transport}${this.#layout}:image`;
  }

  #bundle(id: string): string {
    return join(this.#directory, 'bundles', id);
  }
}
