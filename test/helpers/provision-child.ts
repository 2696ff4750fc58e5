/** `provision-child ROOT JOB [FLAGS]`: the job, given as JSON; says `ready` before the part that may be killed. */
import { writeSync } from 'node:fs';
import { Assembly } from '../../src/assemble.js';
import { configOf, type Flags } from '../../src/config.js';
import type { ContainerJob } from '../../src/testing/conformance/provisioner.js';

const [root = '', text = '', more = '{}'] = process.argv.slice(2);
const flags: Partial<Flags> = JSON.parse(more);
const { what, id, image, backend, rounds = 1, volumes = [] }: ContainerJob = JSON.parse(text);
const assembly = await Assembly.open(configOf({ ...flags, root, owner: 'suite' }));
const provisioner = await assembly.provisioner();

if (what === 'destroy') await provisioner.provision(id, image, { backend, volumes });
writeSync(1, 'ready\n');
if (what === 'destroy') await provisioner.destroy(id);
else
  for (let round = 0; round < rounds; round++) {
    await provisioner.provision(id, image, { backend, volumes });
    if (what === 'cycle') await provisioner.destroy(id);
  }
await assembly.close();
