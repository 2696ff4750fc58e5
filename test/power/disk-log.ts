/** What a disk was told, in order. On file: kind u32, length u32, offset u64 (little-endian), then the bytes written. */
import { readFileSync, writeSync } from 'node:fs';

export type DiskEvent =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Buffer }
  /** The range reads as zeros from here on. */
  | { readonly kind: 'punch'; readonly offset: number; readonly length: number }
  /** All before it is on the medium when it returns. */
  | { readonly kind: 'flush' }
  /** What the workload said: a line of its history. */
  | { readonly kind: 'mark'; readonly text: string };

const KINDS = { write: 1, flush: 2, punch: 3, mark: 4 } as const;
const HEADER = 16;

export function appendEvent(fd: number, event: DiskEvent): void {
  const header = Buffer.alloc(HEADER);
  const body = event.kind === 'write' ? event.bytes : event.kind === 'mark' ? Buffer.from(event.text) : Buffer.alloc(0);
  header.writeUInt32LE(KINDS[event.kind], 0);
  header.writeUInt32LE(event.kind === 'punch' ? event.length : body.length, 4);
  header.writeBigUInt64LE(BigInt('offset' in event ? event.offset : 0), 8);
  writeSync(fd, Buffer.concat([header, body]));
}

export function readEvents(path: string): DiskEvent[] {
  const log = readFileSync(path);
  const events: DiskEvent[] = [];
  for (let at = 0; at + HEADER <= log.length; ) {
    const [kind, length, offset] = [
      log.readUInt32LE(at),
      log.readUInt32LE(at + 4),
      Number(log.readBigUInt64LE(at + 8)),
    ];
    const body = log.subarray(at + HEADER, at + HEADER + (kind === KINDS.punch ? 0 : length));
    at += HEADER + body.length;
    if (kind === KINDS.write) events.push({ kind: 'write', offset, bytes: body });
    else if (kind === KINDS.punch) events.push({ kind: 'punch', offset, length });
    else if (kind === KINDS.flush) events.push({ kind: 'flush' });
    else if (kind === KINDS.mark) events.push({ kind: 'mark', text: body.toString() });
    else throw new Error(`${path}: no such kind of event: ${kind}`);
  }
  return events;
}
