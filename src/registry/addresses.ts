import { BlockList, isIP } from 'node:net';
import type { AddressRange } from './blob.js';

const RANGES: Readonly<Record<AddressRange, readonly (readonly [string, number])[]>> = {
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
  ],
};

const LISTS = Object.entries(RANGES).map(([name, subnets]) => {
  const list = new BlockList();
  for (const [net, prefix] of subnets) list.addSubnet(net, prefix, net.includes(':') ? 'ipv6' : 'ipv4');
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
