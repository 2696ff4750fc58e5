import { createHash } from 'node:crypto';
import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { Agent as HttpAgent } from 'node:http';
import { type AgentOptions, Agent as HttpsAgent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { createSecureContext, rootCertificates } from 'node:tls';
import { LarderError } from '../errors.js';
import { rangeOf } from './addresses.js';
import type { HttpRequest } from './transport.js';

/** How much of a body is read before its reader asks for it: each pause and each start of a socket costs system calls. */
const READ_AHEAD_BYTES = 256 << 10;

export interface Agents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

/** Connections are shared only between requests with the same trust: certificates of both sides, forbidden addresses, way. */
const agents = new Map<string, Agents>();

/** Those for a request: direct, or through its proxy. Rejects with LARDER_CONFIG_INVALID for certificates that are none. */
export async function agentsFor(request: HttpRequest): Promise<Agents> {
  // Before it is looked for: nothing waits between looking and making.
  const tunnels = request.proxy === undefined ? undefined : await import('./hosts/tunnel.js');
  const key = keyOf(request);
  const known = agents.get(key);
  if (known !== undefined) return known;
  const made = tunnels === undefined ? directAgents(request) : tunnelAgents(tunnels, request);
  agents.set(key, made);
  return made;
}

function directAgents(request: HttpRequest): Agents {
  const options = {
    keepAlive: true,
    highWaterMark: READ_AHEAD_BYTES,
    lookup: lookupFor(request.refuseAddresses ?? []),
  };
  return { http: new HttpAgent(options), https: new HttpsAgent({ ...options, ...trustOf(request) }) };
}

function tunnelAgents(
  { TunnelHttpAgent, TunnelHttpsAgent }: typeof import('./hosts/tunnel.js'),
  request: HttpRequest,
): Agents {
  const tunnel = { proxy: request.proxy ?? '', timeoutMs: request.connectTimeoutMs, ca: request.ca };
  const options = { keepAlive: true, highWaterMark: READ_AHEAD_BYTES };
  return {
    http: new TunnelHttpAgent(tunnel, options),
    https: new TunnelHttpsAgent(tunnel, { ...options, ...trustOf(request) }),
  };
}

function keyOf({ ca, clients, insecureTls, refuseAddresses, proxy }: HttpRequest): string {
  const secrets = [ca ?? '', JSON.stringify(clients ?? []), proxy ?? ''];
  const hashes = secrets.map((text) => (text === '' ? '' : createHash('sha256').update(text).digest('hex')));
  return `${hashes.join('|')}|${insecureTls === true}|${(refuseAddresses ?? []).join()}`;
}

/** The certificates are read once for all connections of an agent. */
function trustOf({ url, ca, clients, insecureTls }: HttpRequest): AgentOptions {
  const common = { minVersion: 'TLSv1.2', rejectUnauthorized: insecureTls !== true } as const;
  if (ca === undefined && clients === undefined) return common;
  try {
    const secureContext = createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
      ...(clients === undefined ? {} : { cert: clients.map(({ cert }) => cert), key: clients.map(({ key }) => key) }),
    });
    return { ...common, secureContext };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new LarderError('LARDER_CONFIG_INVALID', `read certificates: for ${new URL(url).host}: not usable: ${why}`);
  }
}

/** A host that is an address is never looked up. */
export function refuseLiteral(url: URL, { refuseAddresses }: HttpRequest): void {
  const range = rangeOf(url.hostname);
  if (range !== undefined && refuseAddresses?.includes(range) === true) throw refusedAddress(url.hostname, range);
}

/** The check is on the address that is connected to, so a name that resolves differently a moment later gains nothing. */
function lookupFor(refuse: HttpRequest['refuseAddresses'] & object): LookupFunction {
  return (hostname, options: LookupOptions, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error !== null) return callback(error, []);
      for (const { address } of found) {
        const range = rangeOf(address);
        if (range !== undefined && refuse.includes(range)) return callback(refusedAddress(hostname, range), []);
      }
      const [first] = found;
      if (options.all === true || first === undefined) return callback(null, found);
      return callback(null, first.address, first.family);
    });
  };
}

function refusedAddress(host: string, range: string): LarderError {
  return new LarderError(
    'LARDER_POLICY_DENIED',
    `connecting: ${host}: a public registry may not send us to a ${range} address`,
  );
}
