/**
 * Layers over a Debian base that show everything a layer may do. All of it is legal, and umoci unpacks it; what
 * umoci and larder see differently on purpose has no place here but in tests of the merge.
 */
import {
  block,
  char,
  dir,
  fifo,
  file,
  hardlink,
  opaque,
  symlink,
  tar,
  whiteout,
} from '../../src/testing/tar-builder.js';

const MTIME = 1_700_000_000;
/** vfs_cap_data, revision 2, effective: CAP_NET_RAW (linux/capability.h). */
const CAP_NET_RAW = Buffer.from('0100000200200000000000000000000000000000', 'hex');
/** posix_acl_xattr, version 2: user::rw-, user:1000:r--, group::r--, mask::r--, other::r--. */
const ACL = Buffer.from(
  '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff',
  'hex',
);

const at = { mtime: MTIME };
const text = (seed: number, length: number) =>
  Buffer.from(Array.from({ length }, (_, i) => 97 + ((i * 7 + seed * 13 + (i >> 5)) % 26)));
const bytesName = (...parts: readonly (string | number)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from([part]))));

export interface FeatureLayer {
  readonly what: string;
  readonly tar: Buffer;
}

export function featureLayers(): FeatureLayer[] {
  const layer = (what: string, ...parts: readonly Buffer[]): FeatureLayer => ({ what, tar: tar(parts) });
  return [
    layer('many files', dir('opt', at), dir('opt/app', at), ...manyFiles()),
    layer(
      'hardlinks across directories',
      dir('opt/links', at),
      dir('opt/links/a', at),
      dir('opt/links/b', at),
      file('opt/links/a/original', text(1, 100_000), at),
      ...Array.from({ length: 20 }, (_, i) => hardlink(`opt/links/b/h${i}`, 'opt/links/a/original', at)),
      file('opt/links/tool', text(2, 5000), { ...at, mode: 0o4755 }),
      hardlink('opt/links/a/tool', 'opt/links/tool', { ...at, mode: 0o4755 }),
    ),
    layer(
      'hardlinks to files of layers below',
      dir('opt/below', at),
      hardlink('opt/below/one', 'opt/app/d0/f1', at),
      hardlink('opt/below/two', 'opt/links/a/original', at),
    ),
    layer(
      'extended attributes, a file capability, an ACL',
      dir('opt/x', { ...at, xattrs: { 'user.dir': '1' } }),
      file('opt/x/user', 'x', {
        ...at,
        xattrs: {
          'user.comment': 'hello',
          'user.utf8': 'żółć',
          'user.bytes': Buffer.from([0, 255, 10, 61]),
        },
      }),
      file('opt/x/ping', text(3, 2000), { ...at, mode: 0o755, xattrs: { 'security.capability': CAP_NET_RAW } }),
      file('opt/x/acl', 'x', { ...at, xattrs: { 'system.posix_acl_access': ACL } }),
      file('opt/x/long', 'x', { ...at, xattrs: { 'user.long': Buffer.alloc(1500, 'v') } }),
    ),
    layer(
      'modes',
      dir('opt/modes', { ...at, mode: 0o1777 }),
      ...[0o4755, 0o2755, 0o6755, 0o1644, 0o000, 0o400, 0o777].map((mode) =>
        file(`opt/modes/m${mode.toString(8)}`, 'x', { ...at, mode }),
      ),
      dir('opt/modes/sgid', { ...at, mode: 0o2775, gid: 50 }),
      dir('opt/modes/closed', { ...at, mode: 0o000 }),
      file('opt/modes/closed/in', 'in', at),
    ),
    layer(
      'devices and pipes',
      dir('opt/dev', at),
      char('opt/dev/null', 1, 3, { ...at, mode: 0o666 }),
      block('opt/dev/loop', 7, 9, { ...at, mode: 0o660, gid: 6 }),
      char('opt/dev/large', 240, 300, { ...at, mode: 0o600 }),
      fifo('opt/dev/pipe', { ...at, mode: 0o640 }),
      hardlink('opt/dev/null2', 'opt/dev/null', at),
    ),
    layer(
      'long names',
      ...longNames('opt/long', 90, {}),
      file(`opt/long/${'n'.repeat(255)}`, 'n', at),
      symlink('opt/long/link', '../'.repeat(30) + 't'.repeat(300), at),
    ),
    layer(
      'long names the GNU way',
      ...longNames('opt/gnu', 120, { format: 'gnu' }),
      file('opt/gnu/ids', 'x', { ...at, uid: 3_000_000, gid: 3_000_001, format: 'gnu' }),
    ),
    layer(
      'names that are text',
      dir('opt/names', at),
      ...[
        'zażółć gęślą',
        '日本語',
        '🚀',
        'é',
        'e\u0301',
        'with space',
        'tab\there',
        'new\nline',
        'back\\slash',
        '-dash',
        '\'"',
        '~',
        '%41',
        'Case',
        'case',
        'a,b:c',
      ].map((name) => file(`opt/names/${name}`, name, at)),
    ),
    layer(
      'names that are not UTF-8',
      dir(bytesName('opt/names/latin1-', 0xe9), at),
      file(bytesName('opt/names/latin1-', 0xe9, '/', 0xff, 0xfe), 'x', at),
      symlink('opt/names/to-latin1', bytesName('latin1-', 0xe9), at),
    ),
    layer(
      'whiteouts',
      whiteout('opt/app/d0/f0', at),
      whiteout('opt/app/d1', at),
      whiteout('opt/links/b/h0', at),
      whiteout('usr/bin/apt', at),
    ),
    layer(
      'an opaque directory, the mark first',
      dir('opt/app/d2', at),
      opaque('opt/app/d2', at),
      file('opt/app/d2/new', 'new', at),
      file('opt/app/d2/f5', 'replaced', at),
    ),
    layer(
      'an opaque directory, the mark in the middle',
      dir('opt/app/d3', at),
      file('opt/app/d3/before', 'x', at),
      opaque('opt/app/d3', at),
      file('opt/app/d3/after', 'x', at),
    ),
    layer(
      'types that change',
      file('opt/app/d4', 'was a directory', at),
      dir('opt/app/d5/f5', at),
      file('opt/app/d5/f5/inner', 'was a file', at),
      symlink('opt/app/d5/f6', '/etc/hostname', at),
      symlink('opt/app/d6', 'd7', at),
    ),
    layer(
      'back again after a whiteout',
      dir('opt/app/d1', at),
      file('opt/app/d1/back', 'again', at),
      file('opt/app/d0/f0', 'again', at),
    ),
    layer('nothing'),
    layer(
      'the same directory with other attributes',
      dir('opt/app/d7', { ...at, mode: 0o700, uid: 7, gid: 8, mtime: MTIME + 5 }),
    ),
    layer(
      'times and ids',
      dir('opt/misc', at),
      file('opt/misc/fraction', 'x', { mtime: 1_600_000_000, mtimeNs: 123_456_789 }),
      file('opt/misc/early', 'x', { mtime: -1_000_000 }),
      file('opt/misc/late', 'x', { mtime: 4_102_444_800 }),
      file('opt/misc/epoch', ''),
      file('opt/misc/ids', 'x', { ...at, uid: 4_000_000_000, gid: 65_534 }),
      symlink('opt/misc/dangling', '/nonexistent', at),
      symlink('opt/misc/loop', 'loop', at),
      symlink('opt/misc/owned', 'ids', { ...at, uid: 5, gid: 6 }),
    ),
    layer('a file through a link of a layer below', file('opt/app/d6/through', 'in d7', at), dir('opt/app/d7', at)),
  ];
}

function* manyFiles(): Generator<Buffer> {
  for (let d = 0; d < 10; d++) {
    yield dir(`opt/app/d${d}`, at);
    for (let f = 0; f < 30; f++)
      yield file(`opt/app/d${d}/f${f}`, text(d * 30 + f, (d * 997 + f * 131) % 6000), { ...at, mtimeNs: f });
  }
}

function* longNames(top: string, width: number, format: { readonly format?: 'gnu' }): Generator<Buffer> {
  let path = top;
  yield dir(path, { ...at, ...format });
  for (const letter of 'abcdef') {
    path += `/${letter.repeat(width)}`;
    yield dir(path, { ...at, ...format });
  }
  yield file(`${path}/leaf`, 'deep', { ...at, ...format });
  yield hardlink(`${top}/leaf`, `${path}/leaf`, { ...at, ...format });
  yield symlink(`${top}/to-leaf`, path.slice(top.length + 1), { ...at, ...format });
}
