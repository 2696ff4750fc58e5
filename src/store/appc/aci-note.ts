/**
 * What one pull tells others while it is under way: "this image is in the store already, under my lease". An image gets
 * its record only when all that it depends on is here, which may take long; without the note, another process that wants
 * it meanwhile would download it again. It lies where the bytes of a download under way lie, is written under that
 * download's lock, and is a hint: whoever reads it looks for everything that it names.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { errnoOf, isLarderError, systemError } from '../../errors.js';
import { type AppcRequest, formatAppcRequest, platformOfRequest } from '../../spec/appc-name.js';
import { isImageId } from '../../spec/appc-types.js';
import { type Digest, digestOf, parseDiffId, parseDigest } from '../../spec/digest.js';
import { parseJson } from '../../spec/json.js';
import type { AciOnDisk } from './appc-find.js';

const SCHEMA = 'larder appc note 1';
const MAX_BYTES = 4096;

export interface AciNote extends AciOnDisk {
  /** It counts while this lease does. */
  readonly lease: string;
}

/** The download of a request, as others find it. */
export function noteKeyOf(request: AppcRequest): Digest {
  return digestOf(Buffer.from(`${formatAppcRequest(request)} ${platformOfRequest(request)}`));
}

/** Not durable: it is of use only to processes that run now. */
export async function writeAciNote(path: string, note: AciNote): Promise<void> {
  try {
    await writeFile(path, JSON.stringify({ schema: SCHEMA, ...note }), { mode: 0o600 });
  } catch (error) {
    throw systemError(`write ${path}`, error);
  }
}

/** Undefined where there is none, or none that was written to its end. */
export async function readAciNote(path: string): Promise<AciNote | undefined> {
  const bytes = await readIfThere(path);
  if (bytes === undefined || bytes.length === 0 || bytes.length > MAX_BYTES) return undefined;
  try {
    return parseNote(parseJson(bytes, { doing: `read ${path}`, maxBytes: MAX_BYTES, code: 'LARDER_MANIFEST_INVALID' }));
  } catch (error) {
    if (isLarderError(error, 'LARDER_MANIFEST_INVALID', 'LARDER_DIGEST_INVALID')) return undefined;
    throw error;
  }
}

function parseNote(value: unknown): AciNote | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { schema, lease, id, diffId, manifest, size } = value as Readonly<Record<string, unknown>>;
  if (schema !== SCHEMA || typeof lease !== 'string' || typeof size !== 'number') return undefined;
  if (typeof id !== 'string' || !isImageId(id)) return undefined;
  return { lease, id, diffId: parseDiffId(String(diffId)), manifest: parseDigest(String(manifest)), size };
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(`read ${path}`, error);
  }
}
