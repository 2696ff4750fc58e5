/** Which system calls are points of a sweep, by their x86-64 numbers. */

export interface TracedCall {
  readonly name: string;
  /** It changes a file system or the table of mounts. An `open` does when it may make or cut a file. */
  readonly changes: boolean | 'when creating';
  /** It takes blocks or inodes, now or when they are synced, so that a full disk can refuse it. */
  readonly takesSpace: boolean;
  /** It makes a descriptor. */
  readonly opens: boolean;
  /** Which argument is a descriptor, or a path. */
  readonly fd?: number;
  readonly path?: number;
  /** Which argument has the flags of open(2). */
  readonly flags?: number;
}

const change = (name: string, more: Partial<TracedCall> = {}): TracedCall => ({
  ...{ name, changes: true, takesSpace: false, opens: false },
  ...more,
});
const opening = (name: string, more: Partial<TracedCall> = {}): TracedCall => ({
  ...{ name, changes: false, takesSpace: false, opens: true },
  ...more,
});

const SPACE = { takesSpace: true } as const;

export const TRACED: ReadonlyMap<number, TracedCall> = new Map([
  [1, change('write', { fd: 0, ...SPACE })],
  [2, opening('open', { changes: 'when creating', path: 0, flags: 1 })],
  [18, change('pwrite64', { fd: 0, ...SPACE })],
  [20, change('writev', { fd: 0, ...SPACE })],
  [40, change('sendfile', { fd: 0, ...SPACE })],
  [41, opening('socket')],
  [74, change('fsync', { fd: 0, ...SPACE })],
  [75, change('fdatasync', { fd: 0, ...SPACE })],
  [76, change('truncate', { path: 0 })],
  [77, change('ftruncate', { fd: 0 })],
  [82, change('rename', { path: 1, ...SPACE })],
  [83, change('mkdir', { path: 0, ...SPACE })],
  [84, change('rmdir', { path: 0 })],
  [86, change('link', { path: 1, ...SPACE })],
  [87, change('unlink', { path: 0 })],
  [88, change('symlink', { path: 1, ...SPACE })],
  [90, change('chmod', { path: 0 })],
  [91, change('fchmod', { fd: 0 })],
  [92, change('chown', { path: 0 })],
  [93, change('fchown', { fd: 0 })],
  [94, change('lchown', { path: 0 })],
  [133, change('mknod', { path: 0, ...SPACE })],
  [165, change('mount', { path: 1 })],
  [166, change('umount2', { path: 0 })],
  [188, change('setxattr', { path: 0, ...SPACE })],
  [189, change('lsetxattr', { path: 0, ...SPACE })],
  [190, change('fsetxattr', { fd: 0, ...SPACE })],
  [197, change('removexattr', { path: 0 })],
  [198, change('lremovexattr', { path: 0 })],
  [199, change('fremovexattr', { fd: 0 })],
  [257, opening('openat', { changes: 'when creating', path: 1, flags: 2 })],
  [258, change('mkdirat', { path: 1, ...SPACE })],
  [259, change('mknodat', { path: 1, ...SPACE })],
  [260, change('fchownat', { path: 1 })],
  [263, change('unlinkat', { path: 1 })],
  [264, change('renameat', { path: 3, ...SPACE })],
  [265, change('linkat', { path: 3, ...SPACE })],
  [266, change('symlinkat', { path: 2, ...SPACE })],
  [268, change('fchmodat', { path: 1 })],
  [277, change('sync_file_range', { fd: 0 })],
  [280, change('utimensat', { path: 1 })],
  [285, change('fallocate', { fd: 0, ...SPACE })],
  [296, change('pwritev', { fd: 0, ...SPACE })],
  [306, change('syncfs', { fd: 0, ...SPACE })],
  [316, change('renameat2', { path: 3, ...SPACE })],
  [326, change('copy_file_range', { fd: 2, ...SPACE })],
  [328, change('pwritev2', { fd: 0, ...SPACE })],
  [428, opening('open_tree', { changes: true, path: 1 })],
  [429, change('move_mount', { path: 3 })],
  [430, opening('fsopen')],
  [431, change('fsconfig')],
  [432, opening('fsmount', { changes: true })],
  [437, opening('openat2', { path: 1 })],
  [442, change('mount_setattr', { path: 1 })],
  [452, change('fchmodat2', { path: 1 })],
]);

/** Of write(2), which libuv also wakes its loops with: eight bytes, which are let through. */
export const WRITE = 1;

/** No system call of any kernel: a process talks to its tracer with it. */
export const TO_TRACER = 1023;

/** What to do at the point: with an error number the call fails, without the process dies. */
export interface Plan {
  /** Of the calls that count, from 1 on; 0: only count. */
  readonly at: number;
  readonly errno?: number | undefined;
  /** All that count from this one on, as where a disk is full. */
  readonly lasting?: boolean | undefined;
  readonly counts: Counted;
}

export const COUNTED = ['changes', 'space', 'opens'] as const;
export type Counted = (typeof COUNTED)[number];

/** O_CREAT, O_TRUNC, and the bit by which O_TMPFILE differs from O_DIRECTORY. */
const CREATING = 0o100 | 0o1000 | 0o20000000;

export function counts(call: TracedCall, args: readonly bigint[], what: Counted): boolean {
  const creates = call.flags !== undefined && (Number(args[call.flags] ?? 0n) & CREATING) !== 0;
  if (what === 'opens') return call.opens;
  if (what === 'space') return call.takesSpace || creates;
  return call.changes === 'when creating' ? creates : call.changes;
}
