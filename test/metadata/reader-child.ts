/** Reads one image 300 times while somebody replaces it, and ends badly when it ever sees half a record. */
import { Database } from '../../src/metadata/database.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import { sampleDiffId } from '../../src/testing/conformance/metadata-manager.js';

const database = await Database.open(process.argv[2] ?? '', { readOnly: true });
const metadata = MetadataManager.create({ database, type: 'docker' });
for (let i = 0; i < 300; i++) {
  const layers = metadata.get('docker.io/library/a:1', true, 'linux/amd64')?.layers.map((layer) => layer.diffId);
  if (layers?.length !== 3 || new Set(layers).size !== 3) process.exit(1);
  if (layers.includes(sampleDiffId('x')) !== layers.includes(sampleDiffId('y'))) process.exit(2);
}
