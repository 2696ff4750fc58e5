import { systemError } from '../errors.js';
import { readPlainFile } from '../linux/plain-file.js';

/** Larger than all authorities of the world. */
const MAX_BYTES = 16 * 1024 * 1024;

/** The PEM files as one text; undefined where there are none. Rejects with LARDER_CONFIG_INVALID, or as `systemError`. */
export async function readCertificates(files: readonly string[]): Promise<string | undefined> {
  if (files.length === 0) return undefined;
  const how = { doing: 'read certificates', code: 'LARDER_CONFIG_INVALID', maxBytes: MAX_BYTES } as const;
  const texts = files.map((path) => {
    try {
      return readPlainFile(path, how).toString('utf8');
    } catch (error) {
      throw systemError(`read certificates: ${path}`, error);
    }
  });
  return texts.join('\n');
}
