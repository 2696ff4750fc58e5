import { readFile } from 'node:fs/promises';
import { systemError } from '../errors.js';

/** The PEM files as one text; undefined where there are none. */
export async function readCertificates(files: readonly string[]): Promise<string | undefined> {
  if (files.length === 0) return undefined;
  const texts = files.map((path) =>
    readFile(path, 'utf8').catch((error: unknown) => {
      throw systemError(`read certificates: ${path}`, error);
    }),
  );
  return (await Promise.all(texts)).join('\n');
}
