/** ▸ All cases, by what they are made of. */
import type { DocumentCase, FileCase, LayerCase, ReferenceCase } from './case.js';
import { combinations } from './combinations.js';
import { documentCases, referenceCases } from './documents.js';
import { fileCases } from './files.js';
import { inodeCases } from './inodes.js';
import { nameCases } from './names.js';
import { type ReaderCase, readerCases } from './reader-cases.js';
import { peersOf } from './reader-peers.js';
import { streamCases } from './streams.js';

export interface AllCases {
  readonly layers: readonly LayerCase[];
  readonly documents: readonly DocumentCase[];
  readonly files: readonly FileCase[];
  readonly references: readonly ReferenceCase[];
}

export const allCases: AllCases = {
  // Cases of readers with limits of their own are for the reader alone.
  layers: [
    ...nameCases,
    ...inodeCases,
    ...combinations,
    ...streamCases,
    ...readerCases.filter(isForStores).map(fromReader),
  ],
  documents: documentCases,
  files: fileCases,
  references: referenceCases,
};

/** Stores of the corpus have lower limits than readers. */
function isForStores([title, , , limits]: ReaderCase): boolean {
  return limits === undefined && !title.startsWith('T72 size of 1 GiB');
}

/** Bytes as they are; for an ACI what is legal would lie beside its root, and what is no tar behind one. */
function fromReader([title, expected, archive]: ReaderCase): LayerCase {
  const [, id = 'T', what = title] = /^(T\d+\w?(?:, T\d+)*) (.*)$/s.exec(title) ?? [];
  return {
    id,
    what,
    layers: () => [archive],
    ...(expected === 'ok' || id === 'T79' ? { noAci: true as const } : {}),
    ...(expected === 'ok' ? {} : { refused: expected }),
    ...peersOf(title),
  };
}
