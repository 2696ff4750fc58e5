import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  chownAt,
  createFileAt,
  linkAt,
  mkdirAt,
  mknodAt,
  openDirectory,
  openDirectoryAt,
  rmdirAt,
  S_IFBLK,
  S_IFCHR,
  setTime,
  setTimeAt,
  symlinkAt,
  unlinkAt,
} from '../../src/linux/at-calls.js';
import { mayMount } from '../../src/linux/capabilities.js';
import { copyData, copyRange } from '../../src/linux/copy-range.js';
import { makeRemovableAt } from '../../src/linux/file-flags.js';
import { bindMount, unmount } from '../../src/linux/mount.js';
import { removeSmallTree, removeTree } from '../../src/linux/remove-tree.js';
import { check, cString, type Kernel, kernel } from '../../src/linux/syscalls.js';
import { getXattr, listXattrs, pathBelow, setXattr } from '../../src/linux/xattr.js';

const asRoot = mayMount() ? false : 'needs root';

let dir = '';
let fd = -1;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'larder-linux-'));
  fd = openDirectory(dir);
});

afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

const at = (...names: readonly string[]): string => join(dir, ...names);

describe('calls below a directory', () => {
  it('refuse every name that is a path', () => {
    for (const name of ['a/b', '', '.', '..', '/etc']) assert.throws(() => mkdirAt(fd, name), { code: 'EINVAL' }, name);
    assert.throws(() => mkdirAt(fd, 'a\0b'), { code: 'LARDER_INTERNAL' });
  });

  it('do not open a directory through a symbolic link', () => {
    symlinkAt('/etc', fd, 'link');
    assert.throws(() => openDirectoryAt(fd, 'link'), { code: 'ENOTDIR' });
  });

  it('do not create a file through a symbolic link', () => {
    symlinkAt(at('victim'), fd, 'link');
    assert.throws(() => createFileAt(fd, 'link'), { code: 'EEXIST' });
    assert.ok(!existsSync(at('victim')));
  });

  it('say what failed and where, as Node does', () => {
    assert.throws(() => rmdirAt(fd, 'missing'), {
      code: 'ENOENT',
      errno: -2,
      syscall: 'unlinkat',
      path: 'missing',
      message: "ENOENT: no such file or directory, unlinkat 'missing'",
    });
  });

  it('take names that are not text', () => {
    const name = Buffer.from([0xff, 0xfe, 0x0a]);
    mkdirAt(fd, name);
    assert.ok(lstatSync(Buffer.concat([Buffer.from(`${dir}/`), name])).isDirectory());
    rmdirAt(fd, name);
  });

  it('link the symbolic link itself', () => {
    symlinkAt('nowhere', fd, 'one');
    linkAt(fd, 'one', fd, 'two');
    assert.equal(readlinkSync(at('two')), 'nowhere');
    unlinkAt(fd, 'one');
    assert.ok(lstatSync(at('two')).isSymbolicLink());
  });

  it('set times of files and symbolic links to the nanosecond, before 1970 too', () => {
    symlinkAt('nowhere', fd, 'link');
    setTimeAt(fd, 'link', -2, 999_999_999);
    assert.equal(lstatSync(at('link'), { bigint: true }).mtimeNs, -1_000_000_001n);
    const file = createFileAt(fd, 'file');
    setTime(file, 1_700_000_000, 123_456_789);
    assert.equal(fstatSync(file, { bigint: true }).mtimeNs, 1_700_000_000_123_456_789n);
    closeSync(file);
  });

  it('make device nodes with large numbers, owned by whom one says', { skip: asRoot }, () => {
    mknodAt(fd, 'tty', S_IFCHR | 0o600, 4095, 1_048_575);
    mknodAt(fd, 'disk', S_IFBLK | 0o600, 8, 257);
    chownAt(fd, 'disk', 4_000_000_000, 5);
    const number = (name: string): string => {
      const device = lstatSync(at(name), { bigint: true }).rdev;
      const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
      return `${major}:${(device & 0xffn) | ((device >> 12n) & ~0xffn)}`;
    };
    assert.equal(number('tty'), '4095:1048575');
    assert.equal(number('disk'), '8:257');
    assert.equal(lstatSync(at('disk')).uid, 4_000_000_000);
  });
});

describe('extended attributes', () => {
  it('are those of the thing itself, in bytewise order', () => {
    writeFileSync(at('file'), '');
    setXattr(at('file'), 'user.b', Buffer.from('1\x002'));
    setXattr(at('file'), 'user.a', Buffer.alloc(0));
    assert.deepEqual(
      listXattrs(at('file')).map(String),
      [String(Buffer.from('user.a')), String(Buffer.from('user.b'))].map(bytesOf),
    );
    assert.deepEqual(Buffer.from(getXattr(at('file'), 'user.b') ?? []), Buffer.from('1\x002'));
    assert.equal(getXattr(at('file'), 'user.c'), undefined);
  });

  it('of a symbolic link are not set on its target', { skip: asRoot }, () => {
    writeFileSync(at('target'), '');
    symlinkSync('target', at('link'));
    setXattr(pathBelow(fd, Buffer.from('link')), 'trusted.x', Buffer.from('y'));
    assert.equal(listXattrs(at('link')).length, 1);
    assert.equal(listXattrs(at('target')).length, 0);
  });
});

function bytesOf(text: string): string {
  return String(new Uint8Array(Buffer.from(text)));
}

describe('copying between descriptors', () => {
  it('copies from one place to another and answers how much there was', () => {
    writeFileSync(at('from'), 'abcdefgh');
    const [from, to] = [openSync(at('from'), 'r'), openSync(at('to'), 'w')];
    assert.equal(copyRange(from, 2, to, 3, 4), 4);
    assert.equal(copyRange(from, 6, to, 0, 100), 2);
    assert.equal(readFileSync(at('to'), 'latin1'), 'gh\0cdef');
    for (const open of [from, to]) closeSync(open);
  });

  it('goes through memory where the kernel refuses', () => {
    const from = openSync('/proc/self/status', 'r');
    const pipe = openSync(at('to'), 'a');
    // Appending descriptors are refused by copy_file_range(2) with EBADF.
    assert.ok(copyRange(from, 0, pipe, 0, 20) > 0);
    assert.match(readFileSync(at('to'), 'latin1'), /^Name:/);
    for (const open of [from, pipe]) closeSync(open);
  });

  it('keeps holes', () => {
    const size = 64 << 20;
    writeFileSync(at('from'), '');
    truncateSync(at('from'), size);
    const from = openSync(at('from'), 'r+');
    writeSync(from, 'x', 32 << 20);
    const to = openSync(at('to'), 'w');
    assert.equal(copyData(from, 0, to, 0, size), size);
    assert.equal(statSync(at('to')).blocks, statSync(at('from')).blocks);
    assert.equal(readFileSync(at('to')).indexOf('x'), 32 << 20);
    for (const open of [from, to]) closeSync(open);
  });
});

describe('removing a tree', () => {
  it('removes files, directories and symbolic links, and nothing that these point to', () => {
    mkdirSync(at('tree', 'a', 'b'), { recursive: true });
    mkdirSync(at('outside'));
    writeFileSync(at('outside', 'kept'), '');
    symlinkSync(at('outside'), at('tree', 'a', 'link'));
    symlinkSync('..', at('tree', 'a', 'b', 'up'));
    assert.equal(removeTree(at('tree')), true);
    assert.ok(!existsSync(at('tree')));
    assert.ok(existsSync(at('outside', 'kept')));
  });

  it('removes a symbolic link in place of the directory', () => {
    mkdirSync(at('outside', 'x'), { recursive: true });
    symlinkSync(at('outside'), at('tree'));
    assert.equal(removeTree(at('tree')), true);
    assert.ok(existsSync(at('outside', 'x')));
  });

  it('answers false when there is nothing', () => {
    assert.equal(removeTree(at('missing')), false);
  });

  it('is not stopped by a depth beyond what a path may name', () => {
    mkdirSync(at('tree'));
    let current = openDirectory(at('tree'));
    for (let depth = 0; depth < 5000; depth++) {
      mkdirAt(current, 'deeper');
      const next = openDirectoryAt(current, 'deeper');
      closeSync(current);
      current = next;
    }
    closeSync(current);
    assert.equal(removeTree(at('tree')), true);
  });

  it('does not empty a mount in the way, even of the same file system', { skip: asRoot }, () => {
    mkdirSync(at('tree', 'point'), { recursive: true });
    mkdirSync(at('volume'));
    writeFileSync(at('volume', 'precious'), '');
    bindMount({ source: at('volume'), target: at('tree', 'point') });
    try {
      assert.throws(() => removeTree(at('tree')), { code: 'EXDEV' });
      assert.ok(existsSync(at('volume', 'precious')));
    } finally {
      unmount(at('tree', 'point'));
    }
  });

  it('leaves all of a small tree in which something is mounted to who looks at the mount table', {
    skip: asRoot,
  }, () => {
    for (const name of ['a', 'b', 'volume']) mkdirSync(at('tree', name), { recursive: true });
    writeFileSync(at('tree', 'a', 'file'), '');
    bindMount({ source: at('tree', 'volume'), target: at('tree', 'b') });
    try {
      assert.equal(removeSmallTree(at('tree'), 100), undefined);
      assert.ok(existsSync(at('tree', 'a', 'file')));
    } finally {
      unmount(at('tree', 'b'));
    }
    assert.equal(removeSmallTree(at('tree'), 100), true);
    assert.equal(removeSmallTree(at('tree'), 100), false);
  });

  it('leaves all of a tree that is not small', () => {
    mkdirSync(at('tree', 'directory'), { recursive: true });
    for (let i = 0; i < 4; i++) writeFileSync(at('tree', 'directory', `${i}`), '');
    assert.equal(removeSmallTree(at('tree'), 4), undefined);
    assert.ok(existsSync(at('tree', 'directory', '3')));
    assert.equal(removeSmallTree(at('tree'), 5), true);
  });

  it('removes what was made immutable or append-only, directories too', {
    skip: asRoot || (hasFileFlags() ? false : 'needs a file system with such flags'),
  }, () => {
    mkdirSync(at('tree', 'closed', 'inner'), { recursive: true });
    writeFileSync(at('tree', 'closed', 'file'), '');
    writeFileSync(at('tree', 'log'), '');
    assert.ok(chattr('+i', at('tree', 'closed', 'file')) && chattr('+a', at('tree', 'log')));
    assert.ok(chattr('+i', at('tree', 'closed', 'inner')) && chattr('+i', at('tree', 'closed')));
    assert.ok(chattr('+i', at('tree')));
    assert.equal(removeTree(at('tree')), true);
    assert.ok(!existsSync(at('tree')));
  });

  it('frees no file of somebody else that is mounted in it', {
    skip: asRoot || (hasFileFlags() ? false : 'needs a file system with such flags'),
  }, () => {
    mkdirSync(at('tree'));
    for (const name of ['theirs', 'tree/point']) writeFileSync(at(...name.split('/')), '');
    assert.ok(chattr('+i', at('theirs')));
    assert.equal(spawnSync('mount', ['--bind', at('theirs'), at('tree', 'point')]).status, 0);
    const tree = openSync(at('tree'), 'r');
    try {
      assert.ok(!makeRemovableAt(tree, 'point'));
      assert.throws(() => unlinkSync(at('theirs')), { code: 'EPERM' });
    } finally {
      closeSync(tree);
      unmount(at('tree', 'point'));
      assert.ok(chattr('-i', at('theirs')));
    }
  });

  it('does not miss what somebody in it removes meanwhile, and does not go where he puts a link', () => {
    mkdirSync(at('outside'));
    writeFileSync(at('outside', 'kept'), '');
    for (const name of ['gone', 'swapped', 'left']) mkdirSync(at('tree', name), { recursive: true });
    for (const name of ['a', 'b', 'c']) writeFileSync(at('tree', name), '');
    const calls: { unlinkat: Kernel['unlinkat'] } = kernel();
    const { unlinkat } = calls;
    calls.unlinkat = (...values) => {
      calls.unlinkat = unlinkat;
      for (const name of ['a', 'b', 'c', 'gone', 'swapped']) rmSync(at('tree', name), { recursive: true, force: true });
      symlinkSync(at('outside'), at('tree', 'swapped'));
      return unlinkat(...values);
    };
    try {
      assert.equal(removeTree(at('tree')), true);
    } finally {
      calls.unlinkat = unlinkat;
    }
    assert.ok(existsSync(at('outside', 'kept')));
  });

  it('removes directories that forbid everything to their owner', () => {
    const pid = asRoot === false ? becomeNobody() : undefined;
    try {
      mkdirSync(at('tree', 'closed', 'inner'), { recursive: true });
      writeFileSync(at('tree', 'closed', 'file'), '');
      chmodSync(at('tree', 'closed', 'inner'), 0);
      chmodSync(at('tree', 'closed'), 0o500);
      assert.equal(removeTree(at('tree')), true);
    } finally {
      pid?.();
    }
  });
});

function chattr(change: string, path: string): boolean {
  return spawnSync('chattr', [change, path]).status === 0;
}

function hasFileFlags(): boolean {
  const tried = mkdtempSync(join(tmpdir(), 'larder-flags-'));
  try {
    return chattr('+a', tried) && chattr('-a', tried);
  } finally {
    rmSync(tried, { recursive: true });
  }
}

/** Acts as an unprivileged user until the answer is called. */
function becomeNobody(): () => void {
  chmodSync(dir, 0o777);
  process.setegid?.(65534);
  process.seteuid?.(65534);
  return () => {
    process.seteuid?.(0);
    process.setegid?.(0);
  };
}

it('a name with a zero byte reaches no system call', () => {
  assert.throws(() => cString('a\0b'), { code: 'LARDER_INTERNAL' });
});

it('an unknown error number is still told', () => {
  assert.throws(() => check(kernel().openat(-1, cString('x'), 0, 0), 'openat'), { code: 'EBADF' });
});
