/** ▸ What this process may do and where: facts of /proc, never guesses from the user id alone. */
import { readFileSync, statfsSync } from 'node:fs';
import { systemError } from '../errors.js';

/** linux/capability.h */
const CAPABILITY = { chown: 0, dacOverride: 1, fowner: 3, sysAdmin: 21, mknod: 27, setfcap: 31 } as const;

export type Capability = keyof typeof CAPABILITY;

/** Whether the effective set of this process has it. Says nothing about user namespaces. */
export function hasCapability(capability: Capability): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readProc('/proc/self/status'))?.[1] ?? '0';
  return ((BigInt(`0x${line}`) >> BigInt(CAPABILITY[capability])) & 1n) === 1n;
}

/** Whether mounting file systems of our own can work: CAP_SYS_ADMIN, in the user namespace that the host booted with. */
export function mayMount(): boolean {
  return hasCapability('sysAdmin') && isInitialUserNamespace();
}

/** Whether files can be given any owner and any extended attribute, and device nodes made. */
export function mayOwnAnything(): boolean {
  return (
    (['chown', 'dacOverride', 'fowner', 'sysAdmin', 'mknod', 'setfcap'] as const).every(hasCapability) &&
    isInitialUserNamespace()
  );
}

/** The one that the host booted with. */
export function isInitialUserNamespace(): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(readProc('/proc/self/uid_map'));
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw systemError(`read what this process may do: ${path}`, error);
  }
}

/** statfs(2) f_type of file systems that matter here. */
const MAGIC: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
  26985: 'nfs',
  801189825: 'zfs',
  1702057286: 'fuse',
  3774210530: 'erofs',
  61791: 'ecryptfs',
  1635083891: 'aufs',
};

/** The name of the file system that `path` is on, for messages; its magic number in hex when it has no name here. */
export function fileSystemOf(path: string): string {
  try {
    const { type } = statfsSync(path);
    return MAGIC[type] ?? `0x${type.toString(16)}`;
  } catch (error) {
    throw systemError(`find the file system of ${path}`, error);
  }
}
