/**
 * ▸ Whose signatures an Appc image needs, and whether it has one. The signature is a detached, ASCII-armoured OpenPGP
 * one over the ACI as it is transferred, compression included (Appc specification 0.8.11, aci.md, "Image Archives").
 * gpgv verifies it, with nothing but the keys that are configured for the image's name; what counts is what it reports
 * on its status descriptor, for it ends with 0 for expired and revoked keys, too.
 */
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LarderError, systemError } from '../errors.js';
import { readPlainFile } from '../linux/plain-file.js';
import { findProgram, lastLine, runProgram } from '../linux/run-program.js';
import { dearmor, isArmored, isDetachedSignature, isKeyring } from './appc-openpgp.js';

/** Key files for names of Appc images. */
export interface AppcTrust {
  /** Whether an image without configured keys is refused. */
  readonly required: boolean;
  /**
   * Name prefix (whole parts of names; `''` is every name) -> files with public keys, armoured or as `gpg --export`
   * writes them. The longest prefix wins; one with keys makes a signature by one of them necessary, one with an empty
   * list takes its names out of what a shorter one demands, unless `required` is set.
   */
  readonly keys: Readonly<Record<string, readonly string[]>>;
}

/** Where a signature is verified. */
export interface VerifyOptions {
  /** *what we were doing*: *to which thing*; opens every message. */
  readonly doing: string;
  /** An existing directory of ours; nothing stays there. */
  readonly directory: string;
  readonly signal?: AbortSignal | undefined;
  /** For tests: where programs are looked up. */
  readonly path?: string;
}

export const MAX_SIGNATURE_BYTES = 256 * 1024;
const MAX_KEY_FILE_BYTES = 4 * 1024 * 1024;
/** Reading hundreds of gigabytes takes its time. */
const GPGV_TIMEOUT_MS = 60 * 60 * 1000;
const BINARY_DOCUMENT = '00';

/**
 * The files whose keys may sign the image; undefined where it needs no signature. Rejects with
 * LARDER_SIGNATURE_INVALID where signatures are required and there is no key for the name.
 */
export function keyFilesFor(trust: AppcTrust | undefined, name: string, doing: string): readonly string[] | undefined {
  const prefix = Object.keys(trust?.keys ?? {})
    .filter((each) => covers(each, name))
    .sort((a, b) => b.length - a.length)[0];
  const files = prefix === undefined ? [] : (trust?.keys[prefix] ?? []);
  if (files.length > 0) return files;
  if (trust?.required !== true) return undefined;
  throw new LarderError('LARDER_SIGNATURE_INVALID', `${doing}: no key is configured for ${name}`, {
    hint: 'signatures are required: name the key files of whoever signs it for a prefix of its name',
  });
}

/**
 * The fingerprint of the primary key that signed the file. Rejects with LARDER_SIGNATURE_INVALID for a signature that
 * is bad, expired, by a key that is expired, revoked or not among those in `keyFiles`, or made with SHA-1 or MD5, and
 * where gpgv is not installed.
 */
export async function verifySignature(
  file: string,
  signature: Uint8Array,
  keyFiles: readonly string[],
  options: VerifyOptions,
): Promise<string> {
  const { doing, signal } = options;
  const packets = dearmor(signature, 'SIGNATURE');
  if (packets === undefined || !isDetachedSignature(packets)) {
    throw refused(doing, 'the signature is not an ASCII-armoured detached OpenPGP signature', {
      hint: 'sign with `gpg --armor --detach-sign`',
    });
  }
  const keyring = Buffer.concat(keyFiles.map((path) => readKeys(path, doing)));
  const program = await findProgram('gpgv', options.path);
  if (program === undefined) {
    throw refused(doing, 'gpgv is not installed, and it is what verifies signatures', {
      hint: 'install the package gpgv (GnuPG)',
    });
  }
  const base = join(resolve(options.directory), randomBytes(8).toString('hex'));
  const [keyringPath, signaturePath] = [`${base}.keyring`, `${base}.sig`];
  try {
    await writeFile(keyringPath, keyring, { flag: 'wx', mode: 0o600 });
    await writeFile(signaturePath, packets, { flag: 'wx', mode: 0o600 });
    const { status, stdout, stderr } = await runProgram(
      program,
      [
        '--homedir',
        resolve(options.directory),
        '--status-fd',
        '1',
        '--weak-digest',
        'SHA1',
        '--keyring',
        keyringPath,
        '--',
        signaturePath,
        resolve(file),
      ],
      { doing, timeoutMs: GPGV_TIMEOUT_MS, signal },
    );
    if (status === undefined) throw refused(doing, `gpgv was killed: ${lastLine(stderr)}`);
    return signerOf(stdout, stderr, doing);
  } catch (error) {
    throw systemError(doing, error);
  } finally {
    await Promise.all([keyringPath, signaturePath].map((path) => rm(path, { force: true })));
  }
}

/** Whole parts: `example.com/a` covers `example.com/a` and `example.com/a/b`, not `example.com/ab`. */
function covers(prefix: string, name: string): boolean {
  const bare = prefix.replace(/\/$/, '');
  return bare === '' || name === bare || name.startsWith(`${bare}/`);
}

function readKeys(path: string, doing: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readPlainFile(path, {
      doing: `${doing}: read the keys`,
      code: 'LARDER_CONFIG_INVALID',
      maxBytes: MAX_KEY_FILE_BYTES,
    });
  } catch (error) {
    throw systemError(`${doing}: read the keys ${path}`, error);
  }
  const packets = isArmored(bytes) ? dearmor(bytes, 'PUBLIC KEY BLOCK') : bytes;
  if (packets === undefined || !isKeyring(packets)) throw badKeys(doing, path, 'does not hold OpenPGP public keys');
  return packets;
}

function badKeys(doing: string, path: string, why: string): LarderError {
  return new LarderError('LARDER_CONFIG_INVALID', `${doing}: key file ${path}: ${why}`, {
    hint: 'write the file with `gpg --export --armor KEY`',
  });
}

const GOOD = 'GOODSIG';
/** How gpgv reports each signature, exactly once each (GnuPG, doc/DETAILS, "Format of the --status-fd output"). */
const VERDICTS: Readonly<Record<string, string>> = {
  [GOOD]: 'is good',
  BADSIG: 'does not fit the image',
  EXPSIG: 'has expired',
  EXPKEYSIG: 'was made with a key that has expired',
  REVKEYSIG: 'was made with a key that was revoked',
  ERRSIG: 'is by a key that is not configured for this name, or cannot be verified',
};

/** One signature by a known key that nothing is wrong with is enough, unless another one does not fit the file. */
function signerOf(statusText: string, stderr: string, doing: string): string {
  let verdict: string | undefined;
  let signer: string | undefined;
  const complaints: string[] = [];
  for (const line of statusText.split('\n')) {
    const [mark, keyword = '', ...args] = line.split(' ');
    if (mark !== '[GNUPG:]') continue;
    if (keyword === 'NEWSIG') verdict = undefined;
    else if (VERDICTS[keyword] !== undefined) {
      verdict = keyword;
      if (keyword !== GOOD) complaints.push(keyword);
    } else if (keyword === 'VALIDSIG' && verdict === GOOD && args[8] === BINARY_DOCUMENT) signer = args[9] ?? args[0];
  }
  if (signer !== undefined && !complaints.includes('BADSIG')) return signer;
  const worst = complaints.find((each) => each === 'BADSIG') ?? complaints[0];
  const said = lastLine(stderr);
  throw worst === undefined
    ? refused(doing, `gpgv does not call the signature good${said === '' ? '' : `: ${said}`}`)
    : refused(doing, `the signature ${VERDICTS[worst]}`);
}

function refused(doing: string, why: string, options: { readonly hint?: string } = {}): LarderError {
  return new LarderError('LARDER_SIGNATURE_INVALID', `${doing}: ${why}`, {
    hint: options.hint ?? 'do not use this image before whoever signs it has said why',
  });
}
