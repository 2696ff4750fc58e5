import { createHash } from 'node:crypto';
import { type StackLayer, stackLine } from '../spec/stack.js';
import { DERIVED_FORMAT } from './derived-format.js';

/**
 * What an image's merged tree and everything made from it is filed under: SHA-256, in hex, over the version of the
 * encoders and the layers, base first. Two images with the same layers in the same order share one.
 */
export function mergedKeyOf(stack: readonly StackLayer[]): string {
  const hash = createHash('sha256').update(`larder merged tree ${DERIVED_FORMAT}\n`);
  for (const layer of stack) hash.update(`${stackLine(layer)}\n`);
  return hash.digest('hex');
}
