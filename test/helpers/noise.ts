import { randomBytes } from 'node:crypto';
import { dir, file, tar } from '../../src/testing/tar-builder.js';

/** A layer with one file that no compression makes smaller. */
export function noiseLayer(path: string, bytes: number): Buffer {
  return tar([dir('.'), file(path, randomBytes(bytes))]);
}
