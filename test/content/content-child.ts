/** `put root hex` puts bytes and ends; `ingest root digest hex` appends to an ingest and stays until it is killed. */
import { appendFile } from 'node:fs/promises';
import { ContentStore } from '../../src/content/content-store.js';
import { Layout } from '../../src/layout.js';
import { parseDigest } from '../../src/spec/digest.js';

const [what = '', root = '', ...rest] = process.argv.slice(2);
const store = await ContentStore.create(new Layout(root));
const stdin: Buffer[] = [];
for await (const chunk of process.stdin) stdin.push(chunk);
const bytes = Buffer.concat(stdin);

if (what === 'put') {
  await store.put(bytes);
} else {
  const ingest = await store.openIngest(parseDigest(rest[0] ?? ''));
  await appendFile(ingest.dataPath, bytes);
  process.stdout.write('appended\n');
  setInterval(() => {}, 1000);
}
