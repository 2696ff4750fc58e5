/**
 * Who a container runs as: the image's `User`, its names looked up in the image's own passwd and group. These files are
 * the image's, so they are read through the image's tree, never from a mounted root filesystem, and only so far.
 */
import { LarderError } from '../errors.js';
import type { LazyImageFs } from '../pulled-image.js';
import type { RuntimeUser } from '../spec/runtime.js';
import type { ResolvedUser } from './bundle.js';

const MAX_BYTES = 1 << 20;
const MAX_ID = 2 ** 32 - 2;

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Rejects with LARDER_CONFIG_INVALID for a name or a path that the image does not have. */
export async function resolveUser(
  named: RuntimeUser,
  fs: LazyImageFs,
): Promise<ResolvedUser & { readonly home: string }> {
  const wanted = await withoutPaths(named, fs);
  const accounts = await readLines(fs, '/etc/passwd', parseAccount);
  const groups = await readLines(fs, '/etc/group', parseGroup);
  const account = accounts.find(({ name, uid }) =>
    typeof wanted.user === 'string' ? name === wanted.user : uid === wanted.user,
  );
  if (account === undefined && typeof wanted.user === 'string') throw unknown('user', wanted.user);
  const gid = wanted.group === undefined ? (account?.gid ?? 0) : groupId(wanted.group, groups);
  // Who names a group gets that group alone, as with Docker.
  const additional =
    wanted.group === undefined
      ? groups.filter((group) => account !== undefined && group.members.includes(account.name))
      : [];
  return {
    uid: account?.uid ?? Number(wanted.user),
    gid,
    additionalGids: [...new Set(additional.map((group) => group.gid).filter((id) => id !== gid))],
    home: account?.home ?? '/',
  };
}

/** Appc lets a path stand for the owner and the group of what is there. */
async function withoutPaths({ user, group }: RuntimeUser, fs: LazyImageFs): Promise<RuntimeUser> {
  const idAt = async (id: number | string, field: 'uid' | 'gid'): Promise<number | string> => {
    if (typeof id === 'number' || !id.startsWith('/')) return id;
    if (!(await fs.exists(id))) throw unknown(`file for its ${field}`, id);
    return (await fs.stat(id))[field];
  };
  return {
    user: await idAt(user, 'uid'),
    ...(group === undefined ? {} : { group: await idAt(group, 'gid') }),
  };
}

function groupId(wanted: number | string, groups: readonly Group[]): number {
  if (typeof wanted === 'number') return wanted;
  const group = groups.find(({ name }) => name === wanted);
  if (group === undefined) throw unknown('group', wanted);
  return group.gid;
}

async function readLines<T>(
  fs: LazyImageFs,
  path: string,
  parse: (fields: readonly string[]) => T | undefined,
): Promise<T[]> {
  if (!(await fs.exists(path)) || (await fs.stat(path)).type !== 'file') return [];
  const text = (await fs.readFile(path, { maxBytes: MAX_BYTES })).toString('utf8');
  return text
    .split('\n')
    .map((line) => parse(line.split(':')))
    .filter((entry) => entry !== undefined);
}

function parseAccount([name, , uid, gid, , home]: readonly string[]): Account | undefined {
  const ids = [uid, gid].map(parseId);
  const [u, g] = ids;
  return name === undefined || name === '' || u === undefined || g === undefined
    ? undefined
    : { name, uid: u, gid: g, home: home === undefined || home === '' ? '/' : home };
}

function parseGroup([name, , id, members]: readonly string[]): Group | undefined {
  const gid = parseId(id);
  return name === undefined || name === '' || gid === undefined
    ? undefined
    : { name, gid, members: (members ?? '').split(',').filter((member) => member !== '') };
}

function parseId(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= MAX_ID ? Number(text) : undefined;
}

function unknown(what: string, name: string): LarderError {
  return new LarderError('LARDER_CONFIG_INVALID', `run: the image has no ${what} called ${JSON.stringify(name)}`, {
    hint: 'choose a numeric id with --user',
  });
}
