/** What can go wrong with one answer of a registry, and how it is made to. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';

/** What would be right: for a GET. */
export interface TrueAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/**
 * What goes wrong with one answer. `after` counts bytes of the body that still arrive. `reset` breaks the
 * connection, `short` closes it although more was announced, `cut` announces nothing and closes it as if that were
 * the end, `stall` sends nothing more and keeps it open, `hang` does not even send a head. What concerns bodies leaves
 * refusals (401, 404) as they are.
 */
export type RegistryFault =
  | { readonly kind: 'reset' | 'short' | 'stall' | 'cut'; readonly after: number }
  | { readonly kind: 'wrong-bytes' | 'gzip' | 'hang' | 'ignore-range' | 'wrong-range' | 'longer' }
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number }
  /** The true answer, with other headers. */
  | { readonly kind: 'headers'; readonly headers: Readonly<Record<string, string>> }
  /** The true answer, so much later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** The connection is handed over with what would be right: any bytes may be written, and nobody else ends it. */
  | { readonly kind: 'raw'; readonly respond: (socket: Socket, truth: TrueAnswer) => void };

/** Answers with what is left of the truth. */
export function spoil(response: ServerResponse, truth: TrueAnswer, fault: RegistryFault | undefined): ServerResponse {
  if (fault === undefined || truth.status >= 300) return send(response, truth);
  const { status, headers, body } = truth;
  switch (fault.kind) {
    case 'headers':
      return send(response, { ...truth, headers: { ...headers, ...fault.headers } });
    case 'wrong-bytes':
      return send(response, { ...truth, body: Buffer.alloc(body.length, 0x78) });
    case 'longer':
      // Chunked: nothing tells before the bytes come.
      return response.writeHead(status, headers).end(Buffer.concat([body, Buffer.alloc(100)]));
    case 'gzip':
      return send(response, { status, headers: { ...headers, 'content-encoding': 'gzip' }, body: gzipSync(body) });
    case 'reset':
    case 'short':
    case 'stall':
    case 'cut':
      return breakOff(response, truth, fault.kind, fault.after);
    case 'raw':
      if (response.socket !== null) fault.respond(response.socket, truth);
      return response;
    default:
      return send(response, truth);
  }
}

export function send(response: ServerResponse, { status, headers, body }: TrueAnswer): ServerResponse {
  return response.writeHead(status, { ...headers, 'content-length': body.length }).end(body);
}

/** To a HEAD: the same without a body. */
export function sendHead(
  response: ServerResponse,
  { status, headers, body }: TrueAnswer,
  fault: RegistryFault | undefined,
): ServerResponse {
  const others = fault?.kind === 'headers' ? fault.headers : {};
  return response.writeHead(status, { ...headers, ...others, 'content-length': body.length }).end();
}

function breakOff(
  response: ServerResponse,
  { status, headers, body }: TrueAnswer,
  kind: 'reset' | 'short' | 'stall' | 'cut',
  after: number,
): ServerResponse {
  const { socket } = response;
  // Without a length, and without chunks, only the end of the connection ends the body.
  const framing = kind === 'cut' ? { connection: 'close' } : { 'content-length': String(body.length) };
  if (kind === 'cut') response.useChunkedEncodingByDefault = false;
  response.writeHead(status, { ...headers, ...framing });
  response.write(body.subarray(0, after), () => {
    if (kind === 'reset') socket?.resetAndDestroy();
    else if (kind !== 'stall') socket?.end();
  });
  return response;
}
