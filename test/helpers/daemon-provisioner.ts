/** The provisioner behind a daemon's socket, as its conformance suite takes it: the store beside it is only looked at. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BackendName } from '../../src/backends/backend.js';
import { DaemonClient } from '../../src/daemon/client.js';
import { Daemon } from '../../src/daemon/server.js';
import { LarderError } from '../../src/errors.js';
import type { ContainerJob, ContainerProcess, ProvisionerFixture } from '../../src/testing/conformance/provisioner.js';
import { startNode } from './child.js';
import { provisionerFixture } from './provisioner.js';

const CHILD = fileURLToPath(new URL('./daemon-client-child.js', import.meta.url));
const OWNER = 'suite';

export async function daemonProvisionerFixture(backend: BackendName): Promise<ProvisionerFixture> {
  const local = await provisionerFixture(backend);
  const daemons = new Map<string, { readonly daemon: Daemon; readonly socket: string }>();
  /** One daemon for each owner: whose containers they are is a setting of the daemon. */
  const socketOf = async (owner: string): Promise<string> => {
    const known = daemons.get(owner);
    if (known !== undefined) return known.socket;
    const socket = join(local.root, '..', `sockets-${daemons.size}`, 'larder.sock');
    const daemon = await Daemon.start({ flags: { root: local.root, owner, socket }, version: '0' });
    daemons.set(owner, { daemon, socket });
    return socket;
  };
  const socket = await socketOf(OWNER);
  return {
    ...local,
    provisioner: new DaemonClient(socket),
    open: async (owner = OWNER) => new DaemonClient(await socketOf(owner)),
    remove: async ({ name }) => void (await new DaemonClient(socket).remove(name)),
    inProcess: (job) => inProcess(socket, job),
    dispose: async () => {
      for (const { daemon } of daemons.values()) await daemon.stop(0);
      await local.dispose();
    },
  };
}

function inProcess(socket: string, job: ContainerJob): ContainerProcess {
  const child = startNode(CHILD, [socket, JSON.stringify(job)]);
  const ready = new Promise<void>((resolve, reject) => {
    child.process.stdout?.on('data', () => resolve());
    child.ended.then(() => resolve()).catch(reject);
  });
  if (child.process.stdout === null) throw new LarderError('LARDER_INTERNAL', 'child: no output');
  return { ...child, ready };
}
