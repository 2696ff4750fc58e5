import { createHash } from 'node:crypto';
import type { TaskContext } from '../workers/protocol.js';
import { readInPieces } from './file-pieces.js';
import type { VerifyJob, VerifyResult } from './layer-job.js';

const PROGRESS_BYTES = 16 << 20;

/** The task `verify`: reads a whole file. Rejects with LARDER_PATH_NOT_FOUND when there is none. Sends how many bytes more it has read. */
export async function verifyTask(data: unknown, context: TaskContext): Promise<VerifyResult> {
  const { path } = data as VerifyJob;
  const hash = createHash('sha256');
  let size = 0;
  let told = 0;
  for await (const piece of readInPieces(path, { signal: context.signal })) {
    hash.update(piece);
    size += piece.length;
    if (size - told < PROGRESS_BYTES) continue;
    context.send(size - told);
    told = size;
  }
  context.send(size - told);
  return { sha256: hash.digest('hex'), size };
}
