import { test } from 'node:test';
import { type MetadataFixture, metadataManagerConformance } from '../../src/testing/conformance/metadata-manager.js';
import { isRoot, metadataFixture, smallDiskFixture } from './fixture.js';

metadataManagerConformance('metadata manager', () => metadataFixture());

/** Only the case of the full disk is worth running there. */
metadataManagerConformance(
  'metadata manager on a full disk',
  (): Promise<MetadataFixture> => smallDiskFixture(),
  (name, _options, body) => {
    if (name.includes('cannot be written'))
      test(name, { skip: isRoot ? false : 'needs root to mount a small tmpfs' }, body);
  },
);
