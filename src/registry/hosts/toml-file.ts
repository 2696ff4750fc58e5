import { LarderError, systemError } from '../../errors.js';
import { readPlainFile } from '../../linux/plain-file.js';

const MAX_BYTES = 4 * 1024 * 1024;

/**
 * A TOML document; the parser is loaded when the first one is read. The parser's own words are dropped: they quote the
 * text, which may have credentials in it. Rejects with LARDER_CONFIG_INVALID, or as `systemError`.
 */
export async function readToml(path: string, doing: string): Promise<unknown> {
  return parseToml(readText(path, doing), path, doing);
}

/** As {@link readToml}, of a text that was read; `path` is for messages. */
export async function parseToml(text: string, path: string, doing: string): Promise<unknown> {
  const { parse, TomlError } = await import('smol-toml');
  try {
    return parse(text);
  } catch (error) {
    const where = error instanceof TomlError ? ` (line ${error.line}, column ${error.column})` : '';
    throw new LarderError('LARDER_CONFIG_INVALID', `${doing}: ${path}: not TOML${where}`);
  }
}

/** A file of at most 4 MiB. Throws LARDER_CONFIG_INVALID, or as `systemError`. */
export function readText(path: string, doing: string): string {
  try {
    return readPlainFile(path, { doing, code: 'LARDER_CONFIG_INVALID', maxBytes: MAX_BYTES }).toString('utf8');
  } catch (error) {
    throw systemError(`${doing}: ${path}`, error);
  }
}
