import { BlockList, isIP } from 'node:net';
import type { AddressRange } from './blob.js';

const RANGES: Readonly<Record<AddressRange, readonly Subnet[]>> = {
  loopback: [
    ['127.0.0.0', 8],
    ['0.0.0.0', 8],
    ['::1', 128],
    ['::', 128],
  ],
  // With the addresses at which clouds tell a machine who it is, wherever they lie: AWS, Alibaba, Oracle, Azure.
  'link-local': [
    ['169.254.0.0', 16],
    ['fe80::', 10],
    ['fd00:ec2::254', 128],
    ['100.100.100.200', 32],
    ['192.0.0.192', 32],
    ['168.63.129.16', 32],
  ],
  private: [
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
    ['100.64.0.0', 10],
    ['fc00::', 7],
    ['fec0::', 10],
  ],
};

type Subnet = readonly [net: string, prefix: number];

/**
 * The IPv6 addresses that some gateway translates to one of an IPv4 range: RFC 6052 (NAT64), 3056 (6to4), and 4291,
 * 2.5.5.1. What is there is near the gateway, so as such it is no address of this machine, whose plain HTTP is trusted.
 */
function translated([net, prefix]: Subnet): readonly Subnet[] {
  if (net.includes(':')) return [];
  const bytes = Buffer.from(net.split('.').map(Number));
  const hex = [0, 2].map((at) => bytes.readUInt16BE(at).toString(16)).join(':');
  return [
    [`64:ff9b::${net}`, 96 + prefix],
    [`2002:${hex}::`, 16 + prefix],
    [`::${net}`, 96 + prefix],
  ];
}

const LISTS = Object.entries(RANGES).map(([name, subnets]) => {
  const list = new BlockList();
  const more = name === 'link-local' ? Object.values(RANGES).flat().flatMap(translated) : [];
  for (const [net, prefix] of [...subnets, ...more]) list.addSubnet(net, prefix, net.includes(':') ? 'ipv6' : 'ipv4');
  return [name as AddressRange, list] as const;
});

/** The range that an IP address is in; undefined for public ones and for what is no IP address. */
export function rangeOf(address: string): AddressRange | undefined {
  const bare = address.replace(/^\[|\]$/g, '');
  // An IPv4 address in IPv6 clothes (::ffff:127.0.0.1) is where the IPv4 address is; BlockList knows that.
  const family = isIP(bare);
  if (family === 0) return undefined;
  return LISTS.find(([, list]) => list.check(bare, family === 6 ? 'ipv6' : 'ipv4'))?.[0];
}

/** Whether `host` (without a port) is this machine, by its name alone. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || rangeOf(host) === 'loopback';
}
