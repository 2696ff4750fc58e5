import { type FileHandle, open, rm } from 'node:fs/promises';
import { type LarderError, systemError } from '../errors.js';
import type { BlobOutcome } from './blob.js';
import type { SlotKind } from './connections.js';
import { pause, refuseEncoding } from './get-whole.js';
import type { RequestPlan } from './request-plan.js';
import { failureOutcome, type HttpAnswer, sendRequest } from './transport.js';

export interface PlainOptions {
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

export interface DownloadOptions extends PlainOptions {
  readonly maxBytes: number;
  /** What to reject with when there is more. */
  readonly tooLong: () => LarderError;
  readonly onReceived?: OnReceived | undefined;
}

/** Bytes so far, and of the whole where the server says so. From zero again when a try begins again. */
export type OnReceived = (received: number, size: number | undefined) => void;

/** The first `maxBytes` of a page; what follows is not read. Rejects with what the plan rejects with. */
export function readBeginning(
  plan: RequestPlan,
  { maxBytes, ...options }: PlainOptions & { readonly maxBytes: number },
): Promise<Buffer> {
  return follow(plan, 'small', options, async (answer) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of answer.body()) {
      chunks.push(chunk);
      length += chunk.byteLength;
      if (length >= maxBytes) break;
    }
    return Buffer.concat(chunks).subarray(0, maxBytes);
  });
}

/**
 * The whole body in a new file, and its size; a try that fails begins again. Not synced, and verified only for its
 * length: the caller hashes. What fails leaves no file. Rejects with what the plan rejects with, with `tooLong`, or as
 * `systemError`.
 */
export async function downloadFile(plan: RequestPlan, path: string, options: DownloadOptions): Promise<number> {
  const file = await onDisk(options.doing, () => open(path, 'wx', 0o600));
  let whole = false;
  try {
    const size = await follow(plan, 'layer', options, (answer) => saveBody(answer, file, options));
    whole = true;
    return size;
  } finally {
    await file.close();
    if (!whole) await rm(path, { force: true });
  }
}

async function saveBody(answer: HttpAnswer, file: FileHandle, options: DownloadOptions): Promise<number> {
  const { doing, maxBytes, tooLong, onReceived } = options;
  const announced = answer.header('content-length');
  if (Number(announced ?? 0) > maxBytes) {
    answer.discard();
    throw tooLong();
  }
  await onDisk(doing, () => file.truncate(0));
  let size = 0;
  const whole = announced === undefined ? undefined : Number(announced);
  onReceived?.(0, whole);
  for await (const chunk of answer.body()) {
    if (size + chunk.byteLength > maxBytes) throw tooLong();
    await onDisk(doing, () => writeFully(file, chunk, size));
    size += chunk.byteLength;
    onReceived?.(size, whole);
  }
  if (!answer.endIsKnown) throw new Error('the connection ended, and the server had not said how long the file is');
  return size;
}

/** Sends what the plan grants until an answer is 200 and `use` takes its body. */
async function follow<T>(
  plan: RequestPlan,
  kind: SlotKind,
  { doing, signal }: PlainOptions,
  use: (answer: HttpAnswer) => Promise<T>,
): Promise<T> {
  using slot = plan.slot(kind);
  await slot.at(plan.host, signal);
  let previous: BlobOutcome | undefined;
  for (;;) {
    const { afterMs, ...grant } = await plan.next(previous, signal);
    await pause(afterMs, doing, signal);
    try {
      const answer = await sendRequest({ ...grant, signal });
      if (answer.status === 200) {
        refuseEncoding(answer, doing);
        return await use(answer);
      }
      previous = await answer.outcome();
    } catch (error) {
      // A body that was cut is fetched again from its first byte, so nothing of it was progress.
      previous = failureOutcome(grant.url, error, 0);
    }
  }
}

/** A disk that is full must not look like a network that fails. */
async function onDisk<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw systemError(doing, error);
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    done += (await file.write(bytes, done, bytes.byteLength - done, position + done)).bytesWritten;
  }
}
