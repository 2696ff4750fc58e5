/** Answers on the wire: heads, ranges, and bodies at the pace of who reads them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { onTurn } from '../queued-answers.js';
import type { Digest } from '../spec/digest.js';
import type { OpenBlob } from './blobs.js';
import { parseRange } from './range.js';
import type { Answerable } from './refusal.js';

/** A reader that takes less than what is buffered for it (some hundred KiB) in this time is cut off. */
export const SLOW_READER_MS = 60_000;

export function sendRefusal(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Answerable) {
  const length = Buffer.byteLength(body);
  // A body that was sent along is not read: the connection cannot be used again.
  const close = isBodiless(request) ? {} : { connection: 'close' };
  response.writeHead(status, { ...headers, ...close, 'content-length': length });
  response.end(request.method === 'HEAD' ? undefined : body);
}

export function sendDocument(
  request: IncomingMessage,
  response: ServerResponse,
  { digest, mediaType, bytes }: { readonly digest: Digest; readonly mediaType: string; readonly bytes: Uint8Array },
): void {
  const headers = { ...headersOf(digest), 'content-type': mediaType };
  if (isUnchanged(request, digest)) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(200, { ...headers, 'content-length': bytes.byteLength });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

/** Without its bytes: nobody needs to be asked for them. False: it has to be opened. */
export function sendBlobHead(
  request: IncomingMessage,
  response: ServerResponse,
  { digest, size }: Pick<OpenBlob, 'digest' | 'size'>,
): boolean {
  const headers = { ...headersOf(digest), 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' };
  if (isUnchanged(request, digest)) response.writeHead(304, headers).end();
  else if (request.method === 'HEAD') response.writeHead(200, { ...headers, 'content-length': size }).end();
  else if (rangeOf(request, digest, size).kind === 'none') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${size}`, 'content-length': 0 }).end();
  } else return false;
  return true;
}

/** After {@link sendBlobHead} said false. What goes wrong on the way cuts the connection. */
export async function sendBlob(
  request: IncomingMessage,
  response: ServerResponse,
  blob: OpenBlob,
  slowReaderMs: number,
): Promise<void> {
  const { digest, size } = blob;
  const wanted = rangeOf(request, digest, size);
  const { start, end } = wanted.kind === 'part' ? wanted : { start: 0, end: size };
  await blob.ready();
  response.writeHead(wanted.kind === 'part' ? 206 : 200, {
    ...headersOf(digest),
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    'content-length': end - start,
    ...(wanted.kind === 'part' ? { 'content-range': `bytes ${start}-${end - 1}/${size}` } : {}),
  });
  // The last byte is written only when the digest is proven: until then the client cannot take it for whole.
  for await (const piece of blob.read(start, end)) {
    if (response.destroyed) return;
    if (!response.write(piece)) await drained(response, slowReaderMs);
  }
  response.end();
}

function headersOf(digest: Digest): Readonly<Record<string, string>> {
  return { 'docker-content-digest': digest, etag: `"${digest}"` };
}

function isUnchanged(request: IncomingMessage, digest: Digest): boolean {
  const known = (request.headers['if-none-match'] ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return known.includes(`"${digest}"`);
}

/** RFC 9110, 13.1.5: a range of something else than what the client knows is a request for all of it. */
function rangeOf({ headers }: IncomingMessage, digest: Digest, size: number) {
  const condition = headers['if-range'];
  const holds = condition === undefined || condition === `"${digest}"`;
  return parseRange(holds ? headers.range : undefined, size);
}

function isBodiless({ headers }: IncomingMessage): boolean {
  return (headers['content-length'] ?? '0') === '0' && headers['transfer-encoding'] === undefined;
}

/** Resolves when it can be written again or is closed; who does not read is cut off. */
function drained(response: ServerResponse, slowReaderMs: number): Promise<void> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    onTurn(response, (socket) => {
      timer = setTimeout(() => socket.destroy(), slowReaderMs);
    });
    const done = (): void => {
      clearTimeout(timer);
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}
