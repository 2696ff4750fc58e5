/** Archives in a directory of their own, and a store to pull them into, which is checked and thrown away after the test. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RawFlags } from '../../src/config.js';
import type { LarderEvent } from '../../src/events.js';
import { type Larder, openLarder } from '../../src/larder.js';
import type { PulledImage } from '../../src/pulled-image.js';
import { type BuiltImage, buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { tar } from '../../src/testing/tar-builder.js';
import { findingsOf } from './docker-store.js';
import { makeDirectory, removeDirectory } from './temporary.js';

export interface ArchiveLab {
  readonly larder: Larder;
  readonly directory: string;
  readonly events: readonly LarderEvent[];
  /** Writes a file beside the store and answers its path. */
  write(name: string, bytes: Uint8Array | readonly Buffer[]): string;
  /** The names of the layers that were fetched since the last call. */
  fetched(): string[];
  pull(name: string, options?: { readonly cached?: boolean; readonly platform?: string }): Promise<PulledFacts>;
}

export interface PulledFacts {
  readonly reference: string;
  readonly diffIds: readonly string[];
  readonly record: PulledImage['record'];
  readonly info: PulledImage['info'];
}

/** `prepare` may make what the settings need. */
export async function withArchives(
  work: (lab: ArchiveLab) => Promise<void>,
  flags: (directory: string) => RawFlags = () => ({}),
): Promise<void> {
  const directory = makeDirectory();
  try {
    const larder = await openLarder({ ...flags(directory), root: join(directory, 'store'), max_parallel_layers: 2 });
    try {
      await work(labOf(larder, directory));
      assert.deepEqual(await findingsOf({ check: () => larder.check({ deep: true }) }), []);
    } finally {
      await larder.close();
    }
  } finally {
    removeDirectory(directory);
  }
}

function labOf(larder: Larder, directory: string): ArchiveLab {
  const events: LarderEvent[] = [];
  let told = 0;
  return {
    larder,
    directory,
    events,
    write: (name, bytes) => {
      const path = join(directory, name);
      writeFileSync(path, bytes instanceof Uint8Array ? bytes : tar(bytes));
      return path;
    },
    fetched: () => {
      const fresh = events.slice(told);
      told = events.length;
      return fresh.flatMap((event) => (event.type === 'layer-done' ? [event.diffId] : []));
    },
    pull: async (name, options = {}) => {
      await using image = await larder.pull(name, { ...options, onEvent: (event) => void events.push(event) });
      const { record, info, reference } = image;
      return { reference, record, info, diffIds: record.layers.map(({ diffId }) => diffId) };
    },
  };
}

/** An image of plain layers with these names; each has a file of its name. */
export function plainImage(...names: readonly string[]): BuiltImage {
  return buildImage({ layers: names.map((name) => ({ tar: sampleLayer(name), compression: 'none' })) });
}

export function diffIdsOf(image: BuiltImage): string[] {
  return image.layers.map(({ diffId }) => diffId);
}
