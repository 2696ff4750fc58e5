/**
 * ▸ What an operator asks of a store beside pulling and pruning: what weighs how much (`df`), why something is still
 * there (`why`), what must stay (`pin`), and the collection of garbage. All but the last only read, and take no lock.
 */
import { existsSync } from 'node:fs';
import { readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageGcConfig } from '../../config.js';
import type { ContentStore } from '../../content/content-store.js';
import { errnoOf, LarderError, systemError } from '../../errors.js';
import type { OperationOptions } from '../../events.js';
import type { Layout } from '../../layout.js';
import { diskUse } from '../../linux/disk-use.js';
import type { StoreLock } from '../../linux/store-lock.js';
import type { Holders, Subject } from '../../metadata/holders.js';
import type { MetadataManager } from '../../metadata/metadata-manager.js';
import type { ImageUsage, Totals, Usage } from '../../metadata/usage.js';
import { excludedKeyOf, type ImageKey } from '../../spec/any-image.js';
import { parseDiffId, parseDigest } from '../../spec/digest.js';
import type { ImageType } from '../../spec/image.js';
import type { Collector, GcReport } from './gc-collector.js';
import { type WhyReport, whyOf } from './why.js';

export interface StoreUsage extends Totals {
  /** Of the file system that the store is on. */
  readonly disk: { readonly sizeBytes: number; readonly usedBytes: number };
  readonly images: readonly ImageUsage[];
  /** Manifests, indexes, configs. */
  readonly documents: number;
  readonly documentBytes: number;
  /** Under way, or kept for a resume. */
  readonly downloads: number;
  readonly downloadBytes: number;
  /** All of the store but what containers wrote. */
  readonly storeBytes: number;
  /** What each container wrote, and what waits in `gc/`: measured on disk, only when asked for. */
  readonly containers?: readonly { readonly container: string; readonly bytes: number }[];
  readonly gcBytes?: number;
}

export interface GarbageRequest extends OperationOptions {
  readonly dryRun?: boolean;
  /** Instead of the setting `image_gc_config`. */
  readonly config?: ImageGcConfig;
}

export interface UpkeepParts {
  readonly layout: Layout;
  readonly lock: StoreLock;
  readonly usage: Usage;
  readonly holders: Holders;
  readonly content: ContentStore;
  readonly metadataOf: (type: ImageType) => MetadataManager;
  readonly collector: () => Promise<Collector>;
  readonly imageGc: ImageGcConfig | undefined;
}

export class Upkeep {
  readonly #parts: UpkeepParts;

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
  }

  /** Answers from what is recorded; `containers` also measures what they wrote, file by file. */
  async df(options: { readonly containers?: boolean } = {}): Promise<StoreUsage> {
    const { usage, content, layout } = this.#parts;
    const totals = usage.totals();
    const { count: documents, bytes: documentBytes } = content.measure();
    let [downloads, downloadBytes] = [0, 0];
    for await (const { size } of content.listIngests()) {
      downloads++;
      downloadBytes += size;
    }
    return {
      ...totals,
      disk: await diskOf(layout.root),
      images: usage.images(),
      ...{ documents, documentBytes, downloads, downloadBytes },
      storeBytes: totals.layerBytes + totals.derivedBytes + documentBytes + downloadBytes,
      ...(options.containers === true
        ? { containers: await this.#containers(), gcBytes: await diskUse(layout.gc) }
        : {}),
    };
  }

  /** Who holds what this digest, DiffID, image ID, key, beginning of one, or path names. Empty: there is no such thing. */
  async why(text: string): Promise<readonly WhyReport[]> {
    return whyOf(text, this.#parts.holders, async (subject) => existsSync(this.#pathOf(subject)));
  }

  /** Whether something changed. All platforms unless one is given. Rejects with LARDER_IMAGE_NOT_FOUND. */
  async setPinned(key: Omit<ImageKey, 'platform'>, platform: string | undefined, pinned: boolean): Promise<boolean> {
    const metadata = this.#parts.metadataOf(key.type);
    if (metadata.find(key.reference, platform).length === 0) {
      const doing = pinned ? 'pin' : 'unpin';
      throw new LarderError(
        'LARDER_IMAGE_NOT_FOUND',
        `${doing} ${key.reference}: there is no such image in the store`,
        {
          hint: '`larder images` lists what there is',
        },
      );
    }
    using _shared = await this.#parts.lock.shared();
    return (await metadata.setPinned(key.reference, platform, pinned)) > 0;
  }

  /**
   * Gives space back where the settings ask for it. Safe beside everything else, in any number of processes. Rejects with
   * LARDER_FLAGS_INVALID when nothing says how much is too much.
   */
  async collectGarbage({ config = this.#parts.imageGc, ...options }: GarbageRequest = {}): Promise<GcReport> {
    if (config === undefined) {
      throw new LarderError('LARDER_FLAGS_INVALID', 'collect garbage: the setting image_gc_config is missing', {
        hint: 'set it, for example to {"image_disk_headroom": 0.1}; or use `larder prune`',
      });
    }
    const excluded = config.excludedImages.map(excludedKeyOf);
    const isExcluded = (image: { type: string; reference: string; platform: string }): boolean =>
      excluded.some(
        ({ type, reference, platform }) =>
          image.type === type && image.reference === reference && (platform ?? image.platform) === image.platform,
      );
    return (await this.#parts.collector()).collect(config, { ...options, isExcluded });
  }

  async #containers(): Promise<{ container: string; bytes: number }[]> {
    const { containers } = this.#parts.layout;
    const names = await readdir(containers).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw systemError(`list ${containers}`, error);
    });
    const directories = names.filter((name) => !name.endsWith('.lock')).sort();
    return Promise.all(
      directories.map(async (container) => ({ container, bytes: await diskUse(join(containers, container)) })),
    );
  }

  #pathOf({ what, name }: Subject): string {
    const { layout } = this.#parts;
    if (what === 'layer') return layout.layer(parseDiffId(name));
    if (what === 'blob') return layout.blob(parseDigest(name));
    return what === 'merged' ? layout.merged(name) : join(layout.derived, 'chains', name);
  }
}

async function diskOf(path: string): Promise<StoreUsage['disk']> {
  try {
    const { blocks, bfree, bsize } = await statfs(path);
    return { sizeBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize };
  } catch (error) {
    throw systemError(`find how full the file system of ${path} is`, error);
  }
}
