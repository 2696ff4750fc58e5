/** ▸ What the requests of all clients of a store have in common: what is known of hosts, and the connections. */
import type { Layout } from '../layout.js';
import { type ConnectionLimits, Connections } from './connections.js';
import { HostHealth } from './hosts/host-health.js';
import { SharedHosts } from './hosts/shared-hosts.js';

export interface Network {
  readonly health: HostHealth;
  readonly connections: Connections;
}

export interface NetworkOptions extends Partial<ConnectionLimits> {
  /** Where processes tell each other what they know of hosts. Left out: this process keeps it to itself. */
  readonly layout?: Layout;
}

export const DEFAULT_CONNECTIONS: ConnectionLimits = { max: 24, maxPerHost: 12 };

export function createNetwork({ layout, ...limits }: NetworkOptions = {}): Network {
  const shared = layout === undefined ? undefined : new SharedHosts(layout);
  return {
    health: new HostHealth(shared),
    connections: new Connections({ ...DEFAULT_CONNECTIONS, ...limits }),
  };
}

/** Of clients that are given none: of this process, whatever they are for. */
export const PROCESS_NETWORK: Network = createNetwork();
