/**
 * Which proxy stands between us and a host, by the usual variables, read as Go reads them (golang.org/x/net/http/httpproxy)
 * since the programs beside us are written in it: the scheme's own variable, then `ALL_PROXY`; lower case first; never
 * for loopback. A proxy's login is in its URL, which is in no message.
 */
import { BlockList, isIP } from 'node:net';
import { LarderError } from '../../errors.js';
import { isLoopbackHost } from '../addresses.js';

/** Answers the URL of the proxy for a request's URL, or undefined. */
export type FindProxy = (url: URL) => string | undefined;

export const NO_PROXY: FindProxy = () => undefined;

const SCHEMES = new Set(['http:', 'https:', 'socks5:', 'socks5h:']);

/** Throws LARDER_FLAGS_INVALID for a variable that names no proxy. */
export function proxiesOf(env: NodeJS.ProcessEnv): FindProxy {
  const all = proxyIn(env, 'all_proxy', 'ALL_PROXY');
  // A web server's script gets `Proxy:` of a request as HTTP_PROXY: in that name a stranger would choose our proxy.
  const inScript = env['REQUEST_METHOD'] !== undefined;
  const http = proxyIn(env, 'http_proxy', ...(inScript ? [] : ['HTTP_PROXY'])) ?? all;
  const https = proxyIn(env, 'https_proxy', 'HTTPS_PROXY') ?? all;
  if (http === undefined && https === undefined) return NO_PROXY;
  const isExempt = exemptions(firstOf(env, ['no_proxy', 'NO_PROXY'])?.[1] ?? '');
  return (url) => {
    if (isLoopbackHost(url.hostname) || isExempt(url)) return undefined;
    return url.protocol === 'https:' ? https : http;
  };
}

/** `host:port` of a proxy: all that a message may have of it. */
export function proxyName(proxy: string): string {
  return URL.canParse(proxy) ? new URL(proxy).host : 'the proxy';
}

function proxyIn(env: NodeJS.ProcessEnv, ...names: readonly string[]): string | undefined {
  const found = firstOf(env, names);
  if (found === undefined) return undefined;
  const [name, value] = found;
  const text = value.includes('://') ? value : `http://${value}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && SCHEMES.has(url.protocol) && url.hostname !== '' && isDecodable(url)) return url.href;
  throw new LarderError('LARDER_FLAGS_INVALID', `proxy: the variable ${name} does not name one`, {
    hint: 'write http://, https:// or socks5:// and [user:password@]host[:port]',
  });
}

function firstOf(env: NodeJS.ProcessEnv, names: readonly string[]): readonly [name: string, value: string] | undefined {
  for (const name of names) {
    const value = env[name]?.trim() ?? '';
    if (value !== '') return [name, value];
  }
  return undefined;
}

function isDecodable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(`${username}${password}`);
    return true;
  } catch {
    // A lone percent sign: what the login is nobody can say.
    return false;
  }
}

type Exempts = (host: string, port: string) => boolean;

/** `*`, addresses, ranges (CIDR), domains with all below them, `.domain` for those below alone; each but a range with a port. */
function exemptions(list: string): (url: URL) => boolean {
  const rules = list.split(/[\s,]+/).flatMap((item) => exemption(item.toLowerCase()) ?? []);
  return (url) => {
    const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
    const port = url.port || (url.protocol === 'https:' ? '443' : '80');
    return rules.some((rule) => rule(host, port));
  };
}

function exemption(item: string): Exempts | undefined {
  if (item === '') return undefined;
  if (item === '*') return () => true;
  const [, address = '', bits] = /^\[?([0-9a-f.:]+)\]?\/(\d{1,3})$/.exec(item) ?? [];
  if (bits !== undefined) return range(address, Number(bits));
  const { host, port } = splitPort(item);
  const fits = (asked: string): boolean => port === '' || port === asked;
  if (isIP(host) !== 0) {
    const same = range(host, isIP(host) === 6 ? 128 : 32);
    return (other, asked) => fits(asked) && same(other, asked);
  }
  const domain = host.replace(/^\*/, '');
  if (domain.startsWith('.')) return (other, asked) => fits(asked) && other.endsWith(domain);
  return (other, asked) => fits(asked) && (other === domain || other.endsWith(`.${domain}`));
}

function range(address: string, bits: number): Exempts {
  const family = isIP(address);
  const list = new BlockList();
  if (family !== 0 && bits <= (family === 6 ? 128 : 32)) list.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4');
  return (host) => isIP(host) !== 0 && list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
}

function splitPort(item: string): { readonly host: string; readonly port: string } {
  if (isIP(item) !== 0) return { host: item, port: '' };
  const match = /^(.*?):(\d{1,5})$/.exec(item);
  const host = match?.[1] ?? item;
  return { host: host.replace(/^\[|\]$/g, ''), port: match?.[2] ?? '' };
}
