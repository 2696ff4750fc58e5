/** What a layer may put in: kinds of files, owners, attributes, and several entries of one name. */
import { block, char, dir, fifo, file, hardlink, symlink, tar } from '../../src/testing/tar-builder.js';
import type { LayerCase } from './case.js';

/** As in the cases of names. */
const APART = 'makes a directory in the place of the symlink below';
const INVALID = 'LARDER_LAYER_INVALID';
const one = (...parts: readonly Buffer[]): readonly Buffer[] => [tar(parts)];
/** vfs_cap_data, revision 2 and 3 (with a root id): CAP_NET_RAW, effective. */
const CAPABILITY = ['0100000200200000000000000000000000000000', '010000030020000000000000000000000000000000000000'];
/** user::rw- user:1000:r-- group::r-- mask::r-- other::r-- */
const ACL = '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff';

const trojan = (victim: string) => `#!/bin/sh\necho taken >${victim}/taken\n`;

export const inodeCases: readonly LayerCase[] = [
  {
    id: 'T45',
    what: 'programs and libraries by the names that an image store might start',
    layers: ({ victim, at }) =>
      one(
        ...['usr/bin', 'bin', 'usr/local/bin', 'usr/sbin'].flatMap((folder) =>
          ['xz', 'zstd', 'gzip', 'bzip2', 'unpigz', 'tar', 'setfattr', 'mount'].map((name) =>
            file(at(`${folder}/${name}`), trojan(victim), { mode: 0o755 }),
          ),
        ),
        file(at('etc/nsswitch.conf'), 'passwd: taken\n'),
        file(at('lib/libnss_taken.so.2'), 'no library'),
        file(at('etc/ld.so.preload'), '/lib/libnss_taken.so.2\n'),
      ),
    tree: { 'usr/bin/xz': 'mode 755', 'etc/nsswitch.conf': 'file passwd: taken\n' },
  },
  {
    id: 'T46',
    what: 'system directories as symlinks to a directory of the host',
    layers: ({ victim, at }) =>
      one(...['dev', 'proc', 'etc', 'sys', 'run', 'tmp'].map((name) => symlink(at(name), `${victim}/dir`))),
    tree: { etc: 'link VICTIM/dir', proc: 'link VICTIM/dir' },
  },
  {
    id: 'T47',
    what: 'lists of users that are a symlink to one of the host, a FIFO, and sparse',
    layers: ({ victim, at }) =>
      one(
        symlink(at('etc/passwd'), `${victim}/secret`),
        fifo(at('etc/group')),
        symlink(at('etc/shadow'), `${victim}/readonly`),
      ),
    tree: { 'etc/passwd': 'link VICTIM/secret', 'etc/group': 'fifo' },
  },
  {
    id: 'T51',
    what: 'a setuid program of root',
    layers: ({ at }) => one(file(at('su'), 'x', { mode: 0o4755 })),
    tree: { su: ['mode 4755', 'owner 0:0'] },
  },
  {
    id: 'T52',
    what: 'a directory with setgid and sticky bits',
    layers: ({ at }) => one(dir(at('d'), { mode: 0o3777, gid: 8 }), file(at('d/f'), 'x', { gid: 9 })),
    tree: { d: ['mode 3777', 'owner 0:8'], 'd/f': 'owner 0:9' },
  },
  ...CAPABILITY.map(
    (hex, i): LayerCase => ({
      id: 'T53',
      what: `a file capability of revision ${i + 2}`,
      layers: ({ at }) => one(file(at('ping'), 'x', { xattrs: { 'security.capability': Buffer.from(hex, 'hex') } })),
      tree: { ping: `xattr security.capability=${i === 0 ? hex : CAPABILITY[0]}` },
      ...(i === 0 ? {} : { long: true as const }),
    }),
  ),
  {
    id: 'T54',
    what: 'a disk that everybody may write',
    layers: ({ at }) => one(block(at('disk'), 8, 0, { mode: 0o666 })),
    tree: { disk: ['block', 'mode 666'] },
  },
  {
    id: 'T55',
    what: 'a character device',
    layers: ({ at }) => one(char(at('null'), 1, 3, { mode: 0o666 })),
    tree: { null: ['char', 'mode 666'] },
  },
  {
    id: 'T56',
    what: 'a FIFO',
    layers: ({ at }) => one(fifo(at('pipe'), { mode: 0o640 })),
    tree: { pipe: ['fifo', 'mode 640'] },
  },
  {
    id: 'T57',
    what: 'a terminal multiplexer, which nobody may open',
    layers: ({ at }) => one(dir(at('dev')), char(at('dev/ptmx'), 5, 2, { mode: 0o666, gid: 5 })),
    tree: { 'dev/ptmx': ['char', 'mode 666', 'owner 0:5'] },
  },
  {
    id: 'T27',
    what: 'a second name of a device and of a FIFO',
    layers: ({ at }) =>
      one(char(at('c'), 1, 3), hardlink(at('c2'), at('c')), fifo(at('p')), hardlink(at('p2'), at('p'))),
    tree: { c2: ['char', 'as c'], p2: ['fifo', 'as p'] },
  },
  ...(
    [
      ['T58', 'trusted.overlay.opaque', 'y'],
      ['T59', 'trusted.overlay.redirect', '/../../etc'],
      ['T59', 'trusted.overlay.metacopy', ''],
      ['T60', 'user.overlay.whiteout', 'y'],
    ] as const
  ).map(
    ([id, name, value]): LayerCase => ({
      id,
      what: `an attribute ${name}, which overlayfs would obey`,
      layers: ({ at }) =>
        one(
          dir(at('d'), { xattrs: { [name]: value } }),
          file(at('d/f'), 'x', { xattrs: { [name]: value, 'user.kept': '1' } }),
        ),
      tree: { d: `no ${name}`, 'd/f': [`no ${name}`, 'xattr user.kept=31'] },
      ...(id === 'T60' ? { umoci: 'keeps it', containerd: 'keeps it' } : {}),
    }),
  ),
  {
    id: 'T61',
    what: 'a label of SELinux',
    layers: ({ at }) => one(file(at('f'), 'x', { xattrs: { 'security.selinux': 'system_u:object_r:etc_t:s0\0' } })),
    tree: { f: `xattr security.selinux=${Buffer.from('system_u:object_r:etc_t:s0\0').toString('hex')}` },
    umoci: 'leaves it out',
  },
  {
    id: 'T62',
    what: 'an access control list',
    layers: ({ at }) => one(file(at('f'), 'x', { xattrs: { 'system.posix_acl_access': Buffer.from(ACL, 'hex') } })),
    tree: { f: `xattr system.posix_acl_access=${ACL}` },
  },
  {
    id: 'T62',
    what: 'an access control list that is none',
    layers: ({ at }) => one(file(at('f'), 'x', { xattrs: { 'system.posix_acl_access': 'x' } })),
    refused: INVALID,
  },
  {
    id: 'T62',
    what: 'attributes of a symlink and of a device, which are their own',
    layers: ({ victim, at }) =>
      one(
        symlink(at('l'), `${victim}/secret`, { xattrs: { 'trusted.own': '1' } }),
        char(at('c'), 1, 3, { xattrs: { 'trusted.own': '2' } }),
      ),
    tree: { l: ['link VICTIM/secret', 'xattr trusted.own=31'], c: 'xattr trusted.own=32' },
    containerd: 'leaves attributes of `trusted.` out',
  },
  {
    id: 'T63',
    what: 'an attribute of 65,536 bytes',
    layers: ({ at }) => one(file(at('f'), 'x', { xattrs: { 'user.a': Buffer.alloc(65_536, 'v') } })),
    refused: INVALID,
    umoci: 'keeps it, on a file system that can',
    containerd: 'keeps it, on a file system that can',
  },
  {
    id: 'T63',
    what: 'more names of attributes than a kernel can list',
    layers: ({ at }) =>
      one(
        file(at('f'), 'x', {
          xattrs: Array.from({ length: 300 }, (_, i) => [`user.${String(i).padStart(245, 'n')}`, 'v'] as const),
        }),
      ),
    refused: INVALID,
  },
  {
    id: 'T64',
    what: 'a device 0:0, which overlayfs takes for a whiteout',
    layers: () => [tar([file('below', 'x')]), tar([char('below', 0, 0), char('other', 0, 0), file('f', 'x')])],
    tree: { below: 'file x', other: 'missing', f: 'file x' },
    noAci: true,
    umoci: 'makes the device',
    containerd: 'makes the device, which hides',
  },
  {
    id: 'T66',
    what: 'owners of 2^31 and 2^32 - 2',
    layers: ({ at }) => one(file(at('f'), 'x', { uid: 2 ** 31, gid: 4_294_967_294 })),
    tree: { f: 'owner 2147483648:4294967294' },
  },
  {
    id: 'T83',
    what: 'times before 1970, past 2038, past the year 9999',
    layers: ({ at }) =>
      one(file(at('early'), 'x', { mtime: -5 }), file(at('late'), 'x', { mtime: 2 ** 33 }), file(at('zero'), 'x')),
    tree: { early: 'mtime -5', late: 'mtime 8589934592', zero: 'mtime 0' },
    containerd: 'knows no time before 1970',
  },
  {
    id: 'T113',
    what: 'names that come twice: the last counts, and is a new file',
    layers: ({ at }) =>
      one(
        file(at('ff'), '1'),
        hardlink(at('other'), at('ff')),
        file(at('ff'), '2'),
        file(at('fd'), '1'),
        dir(at('fd')),
        file(at('fd/in'), 'x'),
        dir(at('df')),
        file(at('df/in'), 'x'),
        file(at('df'), '2'),
        symlink(at('sd'), 'df'),
        dir(at('sd')),
      ),
    tree: { ff: 'file 2', other: 'file 1', fd: 'dir', 'fd/in': 'file x', df: 'file 2', sd: 'dir' },
  },
  {
    id: 'T114',
    what: 'parents that no entry lists',
    layers: ({ at }) => one(file(at('a/b/c'), 'x')),
    tree: { a: ['dir', 'mode 755', 'owner 0:0'], 'a/b/c': 'file x' },
  },
  {
    id: 'T115',
    what: 'a child before its directory keeps the time of the directory',
    layers: ({ at }) => one(file(at('d/f'), 'x', { mtime: 9 }), dir(at('d'), { mtime: 7, mode: 0o711 })),
    tree: { d: ['mtime 7', 'mode 711'], 'd/f': 'mtime 9' },
  },
  {
    id: 'T116',
    what: 'files in directories that may not be written, or not be entered',
    layers: ({ at }) =>
      one(dir(at('r'), { mode: 0o555 }), file(at('r/f'), 'x'), dir(at('n'), { mode: 0 }), file(at('n/f'), 'x')),
    tree: { r: 'mode 555', 'r/f': 'file x', n: 'mode 0', 'n/f': 'file x' },
  },
  {
    id: 'T117',
    what: 'several names of a symlink',
    layers: ({ at }) => one(symlink(at('s'), 'x'), hardlink(at('a'), at('s')), hardlink(at('b'), at('a'))),
    tree: { a: ['link x', 'as s'], b: 'as s' },
  },
  {
    id: 'T118',
    what: 'names that mean something elsewhere',
    layers: ({ at }) =>
      one(
        ...['new\nline', 'esc\x1b[31m', 'back\\slash', '-rf', 'C:\\x', ' ', '~', '$(id)', 'a,b:c', '%2e%2e'].map(
          (name) => file(at(`d/${name}`), name),
        ),
      ),
    tree: { 'd/new\nline': 'file new\nline', 'd/-rf': 'file -rf', 'd/C:\\x': 'file C:\\x', 'd/%2e%2e': 'file %2e%2e' },
  },
  {
    id: 'T119',
    what: 'a file below what is a symlink in the layer below follows it',
    layers: () => [tar([dir('usr'), dir('usr/bin'), symlink('bin', 'usr/bin')]), tar([file('bin/x', 'x')])],
    tree: { bin: 'link usr/bin', 'usr/bin/x': 'file x' },
    noAci: true,
    containerd: APART,
  },
  {
    id: 'T119',
    what: 'a directory in place of what is a symlink in the layer below replaces it',
    layers: () => [tar([dir('usr'), dir('usr/bin'), symlink('bin', 'usr/bin')]), tar([dir('bin'), file('bin/x', 'x')])],
    tree: { bin: 'dir', 'bin/x': 'file x', 'usr/bin/x': 'missing' },
    noAci: true,
  },
  {
    id: 'T120',
    what: 'seven thousand symlinks of 4,095 bytes',
    layers: ({ at }) => one(...Array.from({ length: 7000 }, (_, i) => symlink(at(`d/${i}`), 'x'.repeat(4095)))),
    tree: { 'd/6999': `link ${'x'.repeat(4095)}` },
    long: true,
  },
];
