/** `put DATABASE` puts the records on its standard input; `endless DATABASE` puts one after the other and says which. */
import { writeSync } from 'node:fs';
import { Database } from '../../src/metadata/database.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import type { ImageRecord } from '../../src/metadata/records.js';
import { sampleRecord } from '../../src/testing/conformance/metadata-manager.js';

const [what = '', path = ''] = process.argv.slice(2);
const database = await Database.open(path);
const metadata = MetadataManager.create({ database, type: 'docker' });

if (what === 'put') {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk;
  const records: readonly ImageRecord[] = JSON.parse(text);
  for (const record of records) await metadata.put(record);
  database.close();
} else {
  for (let i = 0; ; i++) {
    const record = sampleRecord(`docker.io/${process.pid}/${i}:1`, ['base', `${i % 10}`, `own ${i}`]);
    await metadata.put(record);
    writeSync(1, `${record.reference}\n`);
  }
}
