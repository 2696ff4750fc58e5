/** The task `layer`: what crosses the thread boundary around {@link writeLayer}. */
import type { AskGrant, BlobGrant } from '../registry/blob.js';
import { openInflater } from '../tar/compression.js';
import type { TaskContext } from '../workers/protocol.js';
import type { LayerJob, LayerResult } from './layer-job.js';
import { writeLayer } from './layer-writer.js';

export type { LayerJob, LayerProgress, LayerResult, LayerSource } from './layer-job.js';

export async function layerTask(data: unknown, context: TaskContext): Promise<LayerResult> {
  // The grants come from the broker, which is our own code on the main thread.
  const ask: AskGrant = async (request) => (await context.ask(request)) as BlobGrant;
  return writeLayer(data as LayerJob, {
    signal: context.signal,
    ask,
    onProgress: (progress) => context.send(progress),
    onRange: (range) => context.send(range),
  });
}

/** Loads what most pulls need, decoder and merge included, so that they do not wait for it. */
export async function prepareTask(): Promise<void> {
  (await openInflater('gzip')).close();
  await import('./merge-task.js');
}
