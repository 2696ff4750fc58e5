/**
 * ▸ Secrets: from what an image names to the value. The default resolver takes values as they are and reads references
 * of the forms `file:/path`, `env:NAME` and `exec:/program`; a module can take its place, as in Mesos. Owns nothing on
 * disk. No value is kept here, and none is ever in an error, an event, a process's arguments or environment: messages
 * say where a value should have come from. Called by the composition root, before a pull that needs it.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { isLarderError, LarderError, systemError } from './errors.js';
import { isExecutableFile, runProgram } from './linux/run-program.js';
import type { Secret, SecretResolver } from './spec/image.js';

const MAX_SECRET_BYTES = 1024 * 1024;
const PROGRAM_TIMEOUT_MS = 30_000;
const DOING = 'resolve a secret';
/** A package's name and a path in it: no URL, and nothing that is relative to who knows what. */
const SPECIFIER = /^(?:@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*(?:\/[\w.-]+)*$/i;

type Reference = Extract<Secret, { type: 'reference' }>['reference'];

/**
 * The default resolver, or the one of a module: its default export or its export `createSecretResolver`, each a
 * resolver or a function that makes one. Rejects with LARDER_FLAGS_INVALID, LARDER_POLICY_DENIED, LARDER_PERMISSION.
 */
export async function createSecretResolver(name?: string): Promise<SecretResolver> {
  if (name === undefined) return { resolve: resolveByDefault };
  const resolver = await loadResolver(name);
  return { resolve: (secret) => resolveBy(resolver, secret, name) };
}

async function resolveByDefault(secret: Secret): Promise<string> {
  requireSecret(secret);
  if (secret.type === 'value') return secret.value;
  const { reference } = secret;
  const [, scheme = '', rest = ''] = /^(file|env|exec):(.+)$/s.exec(reference.name) ?? [];
  switch (scheme) {
    case 'file':
      return picked(await readSecretFile(absolutePath(rest)), reference);
    case 'env':
      return picked(readVariable(rest), reference);
    case 'exec':
      return runHelper(absolutePath(rest), reference.key);
    default:
      // Not quoted: it may be the secret itself, put into the wrong place.
      throw refuse('its reference is none of file:/PATH, env:NAME, exec:/PROGRAM');
  }
}

/** A caller without types may have another form in mind, such as that of Mesos. */
function requireSecret(secret: Secret): void {
  const { type, value, reference } = Object(secret) as { type?: unknown; value?: unknown; reference?: unknown };
  if (type === 'value' && typeof value === 'string') return;
  if (type === 'reference' && typeof (reference as Partial<Reference> | null | undefined)?.name === 'string') return;
  throw refuse('it is neither {type: "value", value} nor {type: "reference", reference: {name, key}}');
}

/** `/path` or, as a URL has it, `///path`. */
function absolutePath(text: string): string {
  const path = text.replace(/^\/\/(?=\/)/, '');
  if (path.startsWith('/') && !path.startsWith('//') && !path.includes('\0')) return path;
  throw refuse('the path of its reference is not absolute');
}

async function readSecretFile(path: string): Promise<string> {
  const doing = `${DOING}: ${path}`;
  let file: FileHandle | undefined;
  try {
    // Not blocking: a FIFO would be waited for.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    await checkOwner(file, doing);
    const bytes = Buffer.alloc(MAX_SECRET_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length);
      length += bytesRead;
      if (bytesRead === 0 || length === bytes.length) break;
    }
    if (length > MAX_SECRET_BYTES) throw refuse(`${path}: longer than ${MAX_SECRET_BYTES} bytes`);
    return withoutLineEnd(bytes.toString('utf8', 0, length));
  } catch (error) {
    throw notThere(error) ? refuse(`${path}: there is no such file`) : systemError(doing, error);
  } finally {
    await file?.close();
  }
}

/** What others can write is theirs to choose, not a secret of ours. */
async function checkOwner(file: FileHandle, doing: string): Promise<void> {
  const stat = await file.stat();
  if (!stat.isFile()) throw new LarderError('LARDER_POLICY_DENIED', `${doing}: not a regular file`);
  if ((stat.mode & 0o022) !== 0 || (stat.uid !== 0 && stat.uid !== process.getuid?.())) {
    throw new LarderError('LARDER_POLICY_DENIED', `${doing}: others than root and you can write to it`, {
      hint: `chmod go-w it, and let it belong to root or to you`,
    });
  }
}

function readVariable(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw refuse(`there is no variable ${JSON.stringify(name.slice(0, 100))}`);
  return value;
}

/** The program gets the key and nothing else; what it says on standard output is the value, without the last line end. */
async function runHelper(program: string, key: string | undefined): Promise<string> {
  const doing = `${DOING}: ${program}`;
  if (key?.startsWith('-') === true || key?.includes('\0') === true)
    throw refuse(`${program}: the key would be read as an option`);
  await checkCode(program, doing, refuse(`${program}: there is no such file`));
  if (!(await isExecutableFile(program))) throw refuse(`${program}: not an executable file`);
  const args = key === undefined ? [] : [key];
  const limits = { doing, timeoutMs: PROGRAM_TIMEOUT_MS, maxOutputBytes: MAX_SECRET_BYTES + 1 };
  const { status, signal, stdout } = await runProgram(program, args, limits).catch((error: unknown) => {
    // Its message may quote what the program said.
    if (!isLarderError(error, 'LARDER_TIMEOUT')) throw error;
    throw new LarderError('LARDER_TIMEOUT', `${doing}: it did not end within ${PROGRAM_TIMEOUT_MS / 1000} s`);
  });
  if (status !== 0) throw refuse(`${program}: it ended with ${signal ?? `status ${status}`}`);
  if (stdout.length > MAX_SECRET_BYTES) throw refuse(`${program}: it said more than ${MAX_SECRET_BYTES} bytes`);
  if (stdout === '') throw refuse(`${program}: it said nothing`);
  return withoutLineEnd(stdout);
}

/** With a key: what the JSON object has under it, a text as it is and an object as JSON. */
function picked(text: string, { key }: Reference): string {
  if (key === undefined) return text;
  const shown = JSON.stringify(key.slice(0, 100));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's error quotes the text.
    throw refuse(`there is no JSON to take the key ${shown} from`);
  }
  const part = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  if (typeof part === 'string') return part;
  if (isObject(part)) return JSON.stringify(part);
  throw refuse(`the JSON has no text and no object under the key ${shown}`);
}

async function loadResolver(name: string): Promise<SecretResolver> {
  const doing = `secret_resolver: ${name}`;
  const bad = (why: string): LarderError => new LarderError('LARDER_FLAGS_INVALID', `${doing}: ${why}`);
  if (name.startsWith('/')) await checkCode(name, doing, bad('there is no such file'));
  else if (!SPECIFIER.test(name)) throw bad('neither an absolute path nor the name of a package');
  let loaded: Readonly<Record<string, unknown>>;
  try {
    loaded = (await import(name.startsWith('/') ? pathToFileURL(name).href : name)) as Record<string, unknown>;
  } catch (error) {
    throw new LarderError('LARDER_FLAGS_INVALID', `${doing}: it cannot be loaded`, { cause: error });
  }
  const exported = loaded['createSecretResolver'] ?? loaded['default'];
  const made: unknown = typeof exported === 'function' ? await (exported as () => unknown)() : exported;
  if (!isResolver(made))
    throw bad('it exports no resolver: an object with a method "resolve", or a function that makes one');
  return made;
}

/** It runs as us. */
async function checkCode(path: string, doing: string, missing: LarderError): Promise<void> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    await checkOwner(file, doing);
  } catch (error) {
    throw notThere(error) ? missing : systemError(doing, error);
  } finally {
    await file?.close();
  }
}

/** A module's own errors may have anything in them, so only their kind is told. */
async function resolveBy(resolver: SecretResolver, secret: Secret, name: string): Promise<string> {
  let value: unknown;
  try {
    value = await resolver.resolve(secret);
  } catch (error) {
    throw refuse(`the module ${name} failed (${error instanceof Error ? error.name : 'no error'})`);
  }
  if (typeof value === 'string' && value !== '') return value;
  throw refuse(`the module ${name} answered no text`);
}

function withoutLineEnd(text: string): string {
  return text.replace(/\r?\n$/, '');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isResolver(value: unknown): value is SecretResolver {
  return isObject(value) && typeof value['resolve'] === 'function';
}

function notThere(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function refuse(what: string): LarderError {
  return new LarderError('LARDER_REQUEST_INVALID', `${DOING}: ${what}`);
}
