/** The docker store as the conformance suite takes it, with archives where its images come from. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Digest } from '../../src/spec/digest.js';
import { ociArchive } from '../../src/testing/archive-builder.js';
import type { StoreFixture } from '../../src/testing/conformance/store.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import {
  type BuiltImage,
  type BuiltIndex,
  buildImage,
  buildIndex,
  type LayerSource,
} from '../../src/testing/image-builder.js';
import { ImageSource, type PublishOptions } from '../../src/testing/image-source.js';
import { tar } from '../../src/testing/tar-builder.js';
import { dockerStoreFixture } from './docker-store.js';
import { makeDirectory, removeDirectory } from './temporary.js';

/** Publishes into archives; its registry is there for whoever should ask it, and nobody should. */
class ArchiveSource extends ImageSource {
  readonly directory = makeDirectory();

  override publish(
    name: string,
    layers: readonly (LayerSource | Uint8Array)[],
    { tag, ...rest }: PublishOptions = {},
  ): BuiltImage {
    const sources = layers.map((layer) => (layer instanceof Uint8Array ? { tar: layer } : layer));
    return this.#write(name, tag, buildImage({ ...rest, layers: sources }));
  }

  override publishIndex(name: string, images: readonly BuiltImage[], tag?: string): Digest {
    return this.#write(name, tag, buildIndex(images)).digest;
  }

  override reference(name: string, tag = 'latest'): string {
    return `oci-archive:${join(this.directory, `${name}-${tag}.tar`)}`;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    removeDirectory(this.directory);
  }

  #write<I extends BuiltImage | BuiltIndex>(name: string, tag: string | undefined, image: I): I {
    writeFileSync(this.reference(name, tag).slice('oci-archive:'.length), tar(ociArchive({ '': image })));
    return image;
  }
}

export async function archiveStoreFixture(): Promise<StoreFixture> {
  const source = new ArchiveSource(await startRegistry());
  const { getInProcess: _, ...fixture } = await dockerStoreFixture();
  await fixture.source[Symbol.asyncDispose]();
  return {
    ...fixture,
    source,
    image: (name, { tag, ...options } = {}) => ({ type: 'docker', name: source.reference(name, tag), ...options }),
    dispose: async () => {
      await source[Symbol.asyncDispose]();
      await fixture.dispose();
    },
  };
}
