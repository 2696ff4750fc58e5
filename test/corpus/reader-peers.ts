/** What umoci and containerd make of bytes that are not quite a tar. Both have the reader of Go, which takes more than ours. */
import type { LayerCase } from './case.js';

type Peers = Pick<LayerCase, 'umoci' | 'containerd'>;

const both = (what: string): Peers => ({ umoci: what, containerd: what });

const NO_OWNER = both('makes it root’s');
const NO_SUCH_FILES = both('knows no such files');
const PLAIN = both('takes the file for a plain one');
const ONE_OF_THEM = both('takes one of them');
const WITHOUT = both('does without it');
const CUT = both('reads up to the NUL');
const LIBARCHIVE = both('knows no attributes of libarchive');

const PEERS: Readonly<Record<string, Peers>> = {
  'T65 uid 4294967295': NO_OWNER,
  'T65 gid 4294967295': NO_OWNER,
  'T65 uid 4294967295 in base-256': NO_OWNER,
  'T65 uid -2 in base-256': both('takes it'),
  'T82 size with junk after its NUL': CUT,
  'T85 GNU name with NUL inside': CUT,
  'T87 sparse files that pretend much': both('has no limit'),
  'T88 old GNU sparse': NO_SUCH_FILES,
  'T89 wrong number of runs': PLAIN,
  'T89 sparse without a map': PLAIN,
  'T89 sparse of version 2': PLAIN,
  'T89 sparse record of no meaning': PLAIN,
  'T99 L and pax path': ONE_OF_THEM,
  'T99 pax path and L': ONE_OF_THEM,
  'T99 K and pax linkpath': ONE_OF_THEM,
  'T99 L and GNU.sparse.name': ONE_OF_THEM,
  'T100 two x': ONE_OF_THEM,
  'T100 two L': ONE_OF_THEM,
  'T101 x at the end': WITHOUT,
  'T101 x at the end, no end mark': WITHOUT,
  'T101 L at the end': WITHOUT,
  'T101 x before a global header': { containerd: 'does without it' },
  'T102 global header at the end': { umoci: 'refuses the header' },
  'T105 uid with a sign': both('takes the sign'),
  'T112 contiguous file': NO_SUCH_FILES,
  'LIBARCHIVE value that is not base64': LIBARCHIVE,
  'LIBARCHIVE name with half an escape': LIBARCHIVE,
  'device number of 2^32': both('knows no such record'),
};

export function peersOf(title: string): Peers {
  return PEERS[title] ?? {};
}
