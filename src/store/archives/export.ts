/** Exports one image of the store, which the caller holds, to an archive that other programs read. */
import type { OperationOptions } from '../../events.js';
import { type ImageRecord, imageIdOf } from '../../metadata/records.js';
import type { Digest } from '../../spec/digest.js';
import { type ExportParts, planExport } from './export-image.js';
import type { ExportTarget } from './export-target.js';
import { archiveSize, streamArchive, writeArchive } from './write-archive.js';

/** What was written. */
export interface ExportReport {
  readonly reference: string;
  readonly platform: string;
  readonly imageId: string;
  readonly transport: ExportTarget['transport'];
  readonly path: string;
  /** Of the archive. */
  readonly bytes: number;
  /** How the image is called in it. */
  readonly names: readonly string[];
  /** Of an OCI archive: the manifest in it. */
  readonly manifest?: Digest;
  /** The store has no compressed layers: they are uncompressed there, under a manifest that nobody has pulled. The image ID is the same. */
  readonly rewritten: boolean;
}

/** Rejects with LARDER_IMAGE_TYPE_UNSUPPORTED, LARDER_NO_SPACE, LARDER_PERMISSION, LARDER_LAYER_CORRUPT, …; then nothing of it is left. */
export async function exportImage(
  record: ImageRecord,
  target: ExportTarget & { readonly path: string },
  parts: ExportParts,
  { signal, onEvent }: OperationOptions,
): Promise<ExportReport> {
  const { members, ...facts } = await planExport(record, target, parts);
  const bytes = archiveSize(members);
  const onBytes = (done: number): void => onEvent?.({ type: 'progress', what: 'export', done, total: bytes });
  await writeArchive(target.path, members, parts, { signal, onBytes });
  const { reference, platform } = record;
  const { transport, path } = target;
  return { reference, platform, imageId: imageIdOf(record), transport, path, bytes, ...facts };
}

/** The bytes of the same archive. */
export async function* exportStream(
  record: ImageRecord,
  target: ExportTarget,
  parts: ExportParts,
  { signal }: OperationOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { members } = await planExport(record, target, parts);
  yield* streamArchive(members, parts, { signal });
}
