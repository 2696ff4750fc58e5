/** `daemon-client-child SOCKET JOB`: the job, given as JSON, by a daemon; says `ready` before the part that may be killed. */
import { writeSync } from 'node:fs';
import { DaemonClient } from '../../src/daemon/client.js';
import type { ContainerJob } from '../../src/testing/conformance/provisioner.js';

const [socket = '', text = ''] = process.argv.slice(2);
const { what, id, image, backend, rounds = 1, volumes = [] }: ContainerJob = JSON.parse(text);
const client = new DaemonClient(socket);

if (what === 'destroy') await client.provision(id, image, { backend, volumes });
writeSync(1, 'ready\n');
if (what === 'destroy') await client.destroy(id);
else
  for (let round = 0; round < rounds; round++) {
    await client.provision(id, image, { backend, volumes });
    if (what === 'cycle') await client.destroy(id);
  }
