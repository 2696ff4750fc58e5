import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FAULTS, type FaultName } from '../../src/testing/faults.js';
import { FAULT_PLACES } from '../../src/testing/fault-registry.js';
import { OtherHosts } from '../../src/testing/other-hosts.js';
import { Authority } from '../helpers/certificates.js';
import { makeDirectory } from '../helpers/temporary.js';
import { pullAll } from './matrix.js';
const dir = makeDirectory();
const authority = Authority.make(dir);
const pem = (p: { certFile: string; keyFile: string }) => ({ cert: authority.read(p.certFile), key: authority.read(p.keyFile) });
const { mkdirSync } = await import('node:fs');
mkdirSync(join(dir, 'o'));
const other = Authority.make(join(dir, 'o'));
const names = ['DNS:localhost'];
await using hosts = await OtherHosts.start({ certificates: { good: pem(authority.issue('good', names)), expired: pem(authority.issue('expired', names, -1)), unknown: pem(other.issue('unknown', names)) } });
const wanted = process.argv[3];
const names2 = (Object.keys(FAULTS) as FaultName[]).filter((n) => wanted === undefined || wanted.split(',').some((w) => n.startsWith(w)));
const silent = names2.filter((n) => 'silent' in FAULTS[n]);
const loud = names2.filter((n) => !('silent' in FAULTS[n]));
const t0 = Date.now();
try {
for (const [i, list] of [silent, loud].entries()) if (list.length > 0) {
const out = await pullAll(list, { directory: join(dir, String(i)), hosts, caFile: authority.caFile }, process.argv[2] === 'mirror');
for (const [name, row] of out) console.log(name.padEnd(26), FAULT_PLACES.map((p) => row.get(p)).join(' | '));
console.log(Date.now() - t0, 'ms');
}
} catch (e) { console.log(e); }
console.log(Date.now() - t0, 'ms', process.memoryUsage().rss >> 20, process.resourceUsage().maxRSS >> 10, process.cpuUsage());
rmSync(dir, { recursive: true, force: true });
process.exit();
