/** ▸ Tells the service manager how we are (sd_notify(3)): one datagram to `$NOTIFY_SOCKET`, which Node cannot send. */
import { createRequire } from 'node:module';
import { LarderError } from '../errors.js';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** unix(7): `sun_path`. */
const MAX_PATH = 108;

/**
 * False where nobody asked to be told. `state` is as sd_notify(3) has it: `READY=1`, `STOPPING=1`. Rejects with
 * LARDER_BACKEND_UNAVAILABLE when the message cannot be sent.
 */
export function notifyService(state: string, env: NodeJS.ProcessEnv = process.env): boolean {
  const place = env['NOTIFY_SOCKET'];
  if (place === undefined || place === '') return false;
  const address = addressOf(place);
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const sendto = libc.func('int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)');
  const close = libc.func('int close(int fd)');
  const fd: number = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) throw refused(place, koffi.errno());
  try {
    const message = Buffer.from(state);
    const sent = sendto(fd, message, message.length, MSG_NOSIGNAL, address, address.length);
    if (Number(sent) !== message.length) throw refused(place, koffi.errno());
    return true;
  } finally {
    close(fd);
  }
}

/** struct sockaddr_un; a leading `@` is the abstract namespace. */
function addressOf(place: string): Buffer {
  const path = Buffer.from(place.startsWith('@') ? `\0${place.slice(1)}` : place);
  if (path.length >= MAX_PATH) throw refused(place, 0);
  const family = Buffer.alloc(2);
  new Uint16Array(family.buffer, family.byteOffset, 1)[0] = AF_UNIX;
  return Buffer.concat([family, path, Buffer.alloc(path[0] === 0 ? 0 : 1)]);
}

function refused(place: string, errno: number): LarderError {
  return new LarderError('LARDER_BACKEND_UNAVAILABLE', `tell the service manager: ${place}: errno ${errno}`, {
    details: { errno },
  });
}
