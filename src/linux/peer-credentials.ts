/** ▸ Who is at the other end of a Unix socket: SO_PEERCRED, as the kernel noted it when the connection was made. */
import { createRequire } from 'node:module';
import { arch } from 'node:process';
import { LarderError } from '../errors.js';

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export type PeerCredentialsOf = (fd: number) => PeerCredentials;

const SOL_SOCKET = 1;
/** asm/socket.h: POWER has numbers of its own. */
const SO_PEERCRED = arch.startsWith('ppc') ? 21 : 17;
/** struct ucred: three 32-bit numbers. */
const UCRED_BYTES = 12;

/** The call, ready to be made for each connection. Throws LARDER_BACKEND_UNAVAILABLE where koffi cannot be loaded. */
export function loadPeerCredentials(): PeerCredentialsOf {
  const koffi = requireKoffi();
  const getsockopt = koffi
    .load(null)
    .func('int getsockopt(int fd, int level, int option, void *value, _Inout_ uint32_t *length)');
  return (fd) => {
    const value = Buffer.alloc(UCRED_BYTES);
    const length = [UCRED_BYTES];
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0 || length[0] !== UCRED_BYTES) {
      throw new LarderError('LARDER_PERMISSION', `ask who is at the other end of a socket: errno ${koffi.errno()}`);
    }
    return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
  };
}

function requireKoffi(): typeof import('koffi') {
  try {
    return createRequire(import.meta.url)('koffi');
  } catch (cause) {
    throw new LarderError('LARDER_BACKEND_UNAVAILABLE', 'serve a socket: koffi: cannot be loaded', {
      cause,
      hint: 'install the dependency koffi for this platform: without it, nobody can tell who is calling',
    });
  }
}
