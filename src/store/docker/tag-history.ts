/** What a reference meant, as people ask for it: what of it is left, what it meant at a time, and what it meant before. */
import { existsSync } from 'node:fs';
import type { ContentStore } from '../../content/content-store.js';
import { LarderError } from '../../errors.js';
import type { Layout } from '../../layout.js';
import type { History, PastResolution } from '../../metadata/history.js';
import type { Layers } from '../../metadata/layers.js';
import { type ImageRecord, imageIdOf } from '../../metadata/records.js';
import type { ImageKey } from '../../spec/any-image.js';
import type { Digest } from '../../spec/digest.js';
import { parsePlatform } from '../../spec/platform.js';
import { resolveStored } from './stored-image.js';

/**
 * `current`: what the reference means here; `kept`: another image in the store is this one; `here`: all of it is left, until
 * the next prune; `gone`: it would have to be fetched.
 */
export type PastState = 'current' | 'kept' | 'here' | 'gone';

export interface TagEntry extends PastResolution {
  readonly state: PastState;
}

export interface TagHistoryParts {
  readonly history: History;
  readonly layout: Layout;
  readonly content: ContentStore;
  readonly layerRecords: Layers;
  readonly records: () => Iterable<ImageRecord>;
}

export class TagHistory {
  readonly #parts: TagHistoryParts;

  constructor(parts: TagHistoryParts) {
    this.#parts = parts;
  }

  /** Newest first; of all platforms when none is given. */
  async list({ type, reference }: Omit<ImageKey, 'platform'>, platform?: string): Promise<TagEntry[]> {
    const records = [...this.#parts.records()].filter((record) => record.type === type);
    const entries: TagEntry[] = [];
    for (const entry of this.#parts.history.list(reference, platform)) {
      entries.push({ ...entry, state: await this.#stateOf(type, entry, records) });
    }
    return entries;
  }

  /**
   * What it meant at a time, or the digest of which `when` has the beginning. Rejects with LARDER_REQUEST_INVALID, and
   * with LARDER_IMAGE_NOT_FOUND where nothing is known of that.
   */
  digestAt({ reference, platform }: ImageKey, when: Moment): Digest {
    const entries = this.#parts.history.list(reference, platform);
    const doing = `go back to ${when.text} of ${reference}`;
    if (when.kind === 'digest') {
      const found = new Set(entries.map(({ digest }) => digest).filter((digest) => digest.startsWith(when.digest)));
      const [only] = found;
      if (found.size === 1 && only !== undefined) return only;
      throw new LarderError(
        'LARDER_IMAGE_NOT_FOUND',
        `${doing}: ${found.size === 0 ? 'none' : 'several'} of its digests begin so`,
        {
          hint: `\`larder history ${reference}\` lists what it meant`,
        },
      );
    }
    const found = entries.find(({ atMs }) => atMs <= when.atMs);
    if (found !== undefined) return found.digest;
    const first = entries.at(-1);
    throw new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: nothing is known of that time`, {
      hint:
        first === undefined
          ? 'it was never pulled into this store for this platform'
          : `what is known begins at ${new Date(first.atMs).toISOString()}`,
    });
  }

  /** What it meant before it meant what it means here. Rejects with LARDER_IMAGE_NOT_FOUND. */
  digestBefore({ type, reference, platform }: ImageKey): Digest {
    const entries = this.#parts.history.list(reference, platform);
    const record = [...this.#parts.records()].find(
      (one) => one.type === type && one.reference === reference && one.platform === platform,
    );
    const now = record?.digest ?? entries[0]?.digest;
    const before = entries.find(({ digest }) => digest !== now);
    if (before !== undefined) return before.digest;
    throw new LarderError(
      'LARDER_IMAGE_NOT_FOUND',
      `go back to what ${reference} was: it never was another image here`,
      {
        hint: `\`larder history ${reference}\` lists what it meant`,
      },
    );
  }

  async #stateOf(type: ImageKey['type'], entry: PastResolution, records: readonly ImageRecord[]): Promise<PastState> {
    const { reference, digest, platform } = entry;
    const isIt = (record: ImageRecord): boolean =>
      type === 'appc' ? imageIdOf(record) === entry.imageId : [record.digest, record.manifest].includes(digest);
    const isOwn = (record: ImageRecord): boolean =>
      record.reference === reference && (platform === '' || record.platform === platform);
    if (records.some((record) => isOwn(record) && isIt(record))) return 'current';
    if (records.some((record) => isIt(record) && (platform === '' || record.platform === platform))) return 'kept';
    return type === 'docker' && platform !== '' && (await this.#isHere(digest, platform)) ? 'here' : 'gone';
  }

  async #isHere(digest: Digest, platform: string): Promise<boolean> {
    const { content, layerRecords, layout } = this.#parts;
    const stored = await resolveStored(digest, parsePlatform(platform), content, `look for ${digest}`);
    if (stored === undefined) return false;
    return stored.layers.every(
      ({ diffId }) => layerRecords.get(diffId) !== undefined && existsSync(layout.layerTar(diffId)),
    );
  }
}

/** When a reference meant something: a time, or the beginning of a digest. */
export type Moment =
  | { readonly kind: 'digest'; readonly text: string; readonly digest: string }
  | { readonly kind: 'time'; readonly text: string; readonly atMs: number };
