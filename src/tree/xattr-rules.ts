/**
 * Which extended attributes of an archive a layer index keeps.
 *
 * Kept: `user.*`, `trusted.*`, `security.*` and the two POSIX ACLs. Dropped and counted: those that overlayfs would
 * obey as its own (`trusted.overlay.*`, `user.overlay.*`), names with a prefix that the kernel cannot show, and `user.*` of
 * what is neither file nor directory: the kernel would list them and give nobody their values, so that copy-up fails.
 * Refused: what a kernel would choke on once it is mounted.
 */
import { displayName } from '../bytes.js';
import type { Xattr } from '../tar/entry.js';
import { invalid } from './clean-path.js';
import { KIND } from './types.js';

const MAX_XATTR_NAME_BYTES = 255;
const MAX_XATTR_VALUE_BYTES = 65_535;
/** XATTR_LIST_MAX: with a longer list of names, listxattr and copy-up fail with E2BIG. */
const MAX_XATTR_LIST_BYTES = 65_536;
/** More than a kernel can give one EROFS inode (its count of four-byte units has 16 bits). */
const MAX_XATTR_TOTAL_BYTES = 262_000;

const PREFIXES = ['user.', 'trusted.', 'security.'];
const OVERLAY_PRIVATE = ['trusted.overlay.', 'user.overlay.'];
const ACL_NAMES = ['system.posix_acl_access', 'system.posix_acl_default'];

export interface KeptXattrs {
  /** In bytewise order of their names. The last of several with one name wins. */
  readonly kept: readonly Xattr[];
  readonly dropped: number;
}

/** Of an entry of the kind. Rejects with LARDER_LAYER_INVALID. */
export function keepXattrs(xattrs: readonly Xattr[], kind: number): KeptXattrs {
  const mayHaveUser = kind === KIND.file || kind === KIND.directory;
  const byName = new Map<string, Xattr>();
  let dropped = 0;
  for (const xattr of xattrs) {
    // Latin-1 maps bytes to characters one to one, so comparing these strings compares bytes.
    const name = Buffer.from(xattr.name).toString('latin1');
    if (!isKeptName(name) || (!mayHaveUser && name.startsWith('user.'))) {
      dropped++;
      continue;
    }
    checkXattr(name, xattr);
    byName.set(name, xattr);
  }
  const names = [...byName.keys()].sort();
  const listBytes = names.reduce((sum, name) => sum + name.length + 1, 0);
  if (listBytes > MAX_XATTR_LIST_BYTES) {
    throw invalid(`the names of its xattrs have ${listBytes} bytes together, at most 65536 are possible`);
  }
  const kept = names.flatMap((name) => byName.get(name) ?? []);
  const total = kept.reduce((sum, { name, value }) => sum + name.length + value.length + 8, 0);
  if (total > MAX_XATTR_TOTAL_BYTES) throw invalid(`its xattrs have about ${total} bytes together, too many`);
  return { kept, dropped };
}

function isKeptName(name: string): boolean {
  if (OVERLAY_PRIVATE.some((prefix) => name.startsWith(prefix))) return false;
  return ACL_NAMES.includes(name) || PREFIXES.some((prefix) => name.startsWith(prefix));
}

function checkXattr(name: string, { value }: Xattr): void {
  const shown = JSON.stringify(displayName(Buffer.from(name, 'latin1')).slice(0, 100));
  if (name.length > MAX_XATTR_NAME_BYTES) throw invalid(`xattr ${shown}: name of ${name.length} bytes`);
  if (PREFIXES.includes(name)) throw invalid(`xattr ${shown}: nothing after the prefix`);
  if (name.includes('\0')) throw invalid(`xattr ${shown}: NUL in the name`);
  if (value.length > MAX_XATTR_VALUE_BYTES) throw invalid(`xattr ${shown}: value of ${value.length} bytes`);
  if (ACL_NAMES.includes(name) && !isPosixAcl(value)) throw invalid(`xattr ${shown}: not a valid POSIX ACL`);
}

const ACL_VERSION = 2;
const ACL_TAG = { userObj: 0x01, user: 0x02, groupObj: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const;
const NO_ID = 0xffff_ffff;

/**
 * What `posix_acl_from_xattr` and `posix_acl_valid` of the kernel accept (fs/posix_acl.c): owner, named users, group,
 * named groups, mask, others, in this order; a mask wherever somebody is named.
 */
export function isPosixAcl(value: Uint8Array): boolean {
  if (value.length < 4 || (value.length - 4) % 8 !== 0) return false;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (view.getUint32(0, true) !== ACL_VERSION) return false;
  let order = '';
  for (let from = 4; from < value.length; from += 8) {
    const tag = view.getUint16(from, true);
    const letter = letterOf(tag);
    if (letter === undefined || view.getUint16(from + 2, true) > 7) return false;
    if ((tag === ACL_TAG.user || tag === ACL_TAG.group) && view.getUint32(from + 4, true) === NO_ID) return false;
    order += letter;
  }
  return order === '' || /^(?:ogx|ou*gn*mx)$/.test(order);
}

function letterOf(tag: number): string | undefined {
  switch (tag) {
    case ACL_TAG.userObj:
      return 'o';
    case ACL_TAG.user:
      return 'u';
    case ACL_TAG.groupObj:
      return 'g';
    case ACL_TAG.group:
      return 'n';
    case ACL_TAG.mask:
      return 'm';
    case ACL_TAG.other:
      return 'x';
    default:
      return undefined;
  }
}
