/** Takes a lease and stays until it is killed. */
import { Layout } from '../../src/layout.js';
import { Database } from '../../src/metadata/database.js';
import { openHandle } from '../../src/metadata/handles.js';
import { Leases } from '../../src/metadata/leases.js';
import { sampleDiffId } from '../../src/testing/conformance/metadata-manager.js';

const layout = new Layout(process.argv[2] ?? '');
const database = await Database.open(layout.database);
const handle = await openHandle(layout);
await new Leases({ database, layout, handle }).create({ layers: [sampleDiffId('of the child')] });
process.stdout.write('leased\n');
setInterval(() => {}, 1000);
