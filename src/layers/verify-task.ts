import { createHash } from 'node:crypto';
import type { TaskContext } from '../workers/protocol.js';
import { readInPieces } from './file-pieces.js';
import type { VerifyJob, VerifyResult } from './layer-job.js';

/** The task `verify`: reads a whole file. Rejects with LARDER_PATH_NOT_FOUND when there is none. */
export async function verifyTask(data: unknown, { signal }: TaskContext): Promise<VerifyResult> {
  const { path } = data as VerifyJob;
  const hash = createHash('sha256');
  let size = 0;
  for await (const piece of readInPieces(path, { signal })) {
    hash.update(piece);
    size += piece.length;
  }
  return { sha256: hash.digest('hex'), size };
}
