/** Loop devices, which free themselves with their last user (loop(4)). */
import { closeSync, constants, openSync } from 'node:fs';
import { check, kernel, kernelError } from './syscalls.js';

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
/** struct loop_config: fd and block size, then struct loop_info64, whose lo_flags are at 52. */
const CONFIG_SIZE = 304;
const FLAGS_AT = 8 + 52;
const EBUSY = 16;
const ATTEMPTS = 64;

export interface LoopDevice {
  /** Keeps the device alive until something else does. */
  readonly fd: number;
  readonly path: string;
}

/** Gives the file a loop device, read-only by default. Another process may take the free one first: then the next is tried. */
export function attachLoop(fileFd: number, access: 'read' | 'write' = 'read'): LoopDevice {
  const control = openSync('/dev/loop-control', 'r+');
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const device = tryAttach(control, fileFd, access);
      if (device !== undefined) return device;
    }
  } finally {
    closeSync(control);
  }
  throw kernelError(EBUSY, 'LOOP_CONFIGURE', '/dev/loop-control');
}

function tryAttach(control: number, fileFd: number, access: 'read' | 'write'): LoopDevice | undefined {
  const path = `/dev/loop${check(kernel().ioctlInt(control, LOOP_CTL_GET_FREE, 0), 'LOOP_CTL_GET_FREE')}`;
  const fd = openSync(path, access === 'read' ? constants.O_RDONLY : constants.O_RDWR);
  const config = Buffer.alloc(CONFIG_SIZE);
  config.writeUInt32LE(fileFd, 0);
  config.writeUInt32LE(LO_FLAGS_AUTOCLEAR | (access === 'read' ? LO_FLAGS_READ_ONLY : 0), FLAGS_AT);
  const result = kernel().ioctlPointer(fd, LOOP_CONFIGURE, config);
  if (result >= 0) return { fd, path };
  const errno = kernel().lastErrno();
  closeSync(fd);
  if (errno === EBUSY) return undefined;
  throw kernelError(errno, 'LOOP_CONFIGURE', path);
}
