/** Where the things of one repository may be had: a registry's own host and its mirrors, as the host's files say. */
import { type Reference, registryHostOf } from '../../spec/reference.js';

/** Whom to trust at one host beside the system's authorities, and who we are to it. PEM. */
export interface HostTrust {
  readonly ca?: string;
  readonly clients?: readonly { readonly cert: string; readonly key: string }[];
}

/** How one server is spoken to. */
export interface Server {
  /** `host[:port]`: whose credentials these are, and what messages call it. */
  readonly host: string;
  /** Left out: HTTPS, or what a loopback or insecure host turns out to speak. */
  readonly scheme?: 'https' | 'http';
  /** What stands before `/REPOSITORY/manifests/…`: `/v2`, or `/some/prefix/v2`. */
  readonly apiRoot: string;
  /** Plain HTTP, or TLS that nobody vouches for, was allowed for it. */
  readonly insecure: boolean;
  /** Sent with each request to this server and to no other. May be secret. */
  readonly headers: Readonly<Record<string, string>>;
  /** `?ns=`: the registry that a proxy for many stands for. */
  readonly namespace?: string;
  readonly trust: HostTrust;
  /** Until a connection stands; left out: as for all. */
  readonly connectTimeoutMs?: number;
}

/** One place for one reference. */
export interface Endpoint {
  readonly server: Server;
  /** The repository's name there. */
  readonly repository: string;
  readonly isMirror: boolean;
  /** May say what a tag means. */
  readonly resolves: boolean;
  /** May give what is named by a digest. */
  readonly serves: boolean;
}

/** The places for a reference, best first, at least one. Rejects with LARDER_POLICY_DENIED for a blocked one, LARDER_CONFIG_INVALID. */
export interface RegistryHosts {
  endpointsOf(reference: Reference): Promise<readonly Endpoint[]>;
}

export const API_ROOT = '/v2';

/** A server about which no file says anything. */
export function plainServer(host: string, more: Partial<Server> = {}): Server {
  return { host, apiRoot: API_ROOT, insecure: false, headers: {}, trust: {}, ...more };
}

/** The registry that the reference names, at its own address. */
export function originOf(reference: Reference, server = plainServer(registryHostOf(reference))): Endpoint {
  return { server, repository: reference.path, isMirror: false, resolves: true, serves: true };
}

/** No file says anything. */
export const DIRECT: RegistryHosts = { endpointsOf: async (reference) => [originOf(reference)] };
