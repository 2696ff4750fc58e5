/** Requests are read strictly: bounded, JSON only, and a member that nobody knows is refused with the nearest name. */
import type { IncomingMessage } from 'node:http';
import { nearestName } from '../config-values.js';
import { errnoOf, LarderError, printable } from '../errors.js';
import type { Image, Secret } from '../spec/image.js';
import { JSON_TYPE, MAX_BODY_BYTES } from './wire.js';

/** A refusal whose HTTP status says more than the error's kind does. */
export class HttpRefusal extends LarderError {
  readonly status: number;

  constructor(status: number, message: string, options: { readonly hint?: string; readonly cause?: unknown } = {}) {
    super('LARDER_REQUEST_INVALID', message, options);
    this.status = status;
  }
}

/** The body as JSON; `{}` when there is none. Rejects with {@link HttpRefusal}. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const length = Number(request.headers['content-length'] ?? (request.headers['transfer-encoding'] ? Number.NaN : 0));
  if (length === 0) return {};
  const [type = ''] = (request.headers['content-type'] ?? '').toLowerCase().split(';', 1);
  if (type.trim() !== JSON_TYPE) {
    throw new HttpRefusal(415, `read the request: content-type ${JSON.stringify(type)}: expected ${JSON_TYPE}`);
  }
  if (request.headers['content-encoding'] !== undefined)
    throw new HttpRefusal(415, 'read the request: content-encoding: a body must come as it is');
  const body = await readBody(request, length);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    throw new HttpRefusal(400, 'read the request: the body is not JSON', { cause });
  }
}

async function readBody(request: IncomingMessage, length: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  if (length > MAX_BODY_BYTES) throw tooLarge();
  try {
    for await (const piece of request as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > MAX_BODY_BYTES) throw tooLarge();
      pieces.push(piece);
    }
  } catch (error) {
    if (errnoOf(error) !== 'ECONNRESET') throw error;
    throw new HttpRefusal(400, 'read the request: the client went away', { cause: error });
  }
  return Buffer.concat(pieces);
}

function tooLarge(): HttpRefusal {
  return new HttpRefusal(413, `read the request: the body is longer than ${MAX_BODY_BYTES} bytes`);
}

/** Reads one member: `what` is its name for messages. */
export type Read<T> = (value: unknown, what: string) => T;

type Members<S extends Readonly<Record<string, Read<unknown>>>> = {
  readonly [N in keyof S]: ReturnType<S[N]>;
};

/** An object with these members and no others. */
export function object<const S extends Readonly<Record<string, Read<unknown>>>>(shape: S): Read<Members<S>> {
  return (value, what) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(what, 'expected an object');
    for (const name of Object.keys(value))
      if (!Object.hasOwn(shape, name)) throw unknown(what, name, Object.keys(shape));
    const given = new Map<string, unknown>(Object.entries(value));
    const read = Object.entries(shape).map(([name, reader]) => [name, reader(given.get(name), `${what}.${name}`)]);
    return Object.fromEntries(read.filter(([, member]) => member !== undefined));
  };
}

export const text: Read<string> = (value, what) => {
  if (typeof value !== 'string' || value === '') throw invalid(what, 'expected a non-empty text');
  return value;
};

/** A text of any length: whoever uses it says what is wrong with it. */
export const anyText: Read<string> = (value, what) => {
  if (typeof value !== 'string') throw invalid(what, 'expected a text');
  return value;
};

export const flag: Read<boolean> = (value, what) => {
  if (typeof value !== 'boolean') throw invalid(what, 'expected true or false');
  return value;
};

export function optional<T>(read: Read<T>): Read<T | undefined> {
  return (value, what) => (value === undefined || value === null ? undefined : read(value, what));
}

export function list<T>(read: Read<T>): Read<readonly T[]> {
  return (value, what) => {
    if (!Array.isArray(value)) throw invalid(what, 'expected a list');
    return value.map((item: unknown, i) => read(item, `${what}[${i}]`));
  };
}

export function oneOf<const T extends string>(...known: readonly T[]): Read<T> {
  return (value, what) => {
    const found = known.find((name) => name === value);
    if (found === undefined) throw invalid(what, `expected one of ${known.join(', ')}`);
    return found;
  };
}

const labels: Read<Readonly<Record<string, string>>> = (value, what) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(what, 'expected an object');
  return Object.fromEntries(Object.entries(value).map(([name, label]) => [name, anyText(label, `${what}.${name}`)]));
};

export const secret: Read<Secret> = (value, what) => {
  const given = object({
    type: oneOf('value', 'reference'),
    value: optional(anyText),
    reference: optional(object({ name: text, key: optional(text) })),
  })(value, what);
  if (given.type === 'value' && given.value !== undefined && given.reference === undefined)
    return { type: 'value', value: given.value };
  if (given.type === 'reference' && given.reference !== undefined && given.value === undefined) {
    const { name, key } = given.reference;
    return { type: 'reference', reference: { name, ...(key === undefined ? {} : { key }) } };
  }
  throw invalid(what, 'a secret has a value or a reference, as its type says');
};

/** How a Docker image is chosen, beside its name. */
export const dockerChoice = {
  platform: optional(text),
  cached: optional(flag),
  config: optional(secret),
  defaultLogin: optional(flag),
};

const dockerImage = object({ type: oneOf('docker'), name: anyText, ...dockerChoice });

const appcImage = object({
  type: oneOf('appc'),
  name: anyText,
  id: optional(text),
  labels: optional(labels),
  cached: optional(flag),
});

/** An image as the library takes it. */
export const image: Read<Image> = (value, what) => {
  const type = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined;
  if (type === 'appc') return withoutUndefined(appcImage(value, what));
  if (type === 'docker') return withoutUndefined(dockerImage(value, what));
  throw invalid(`${what}.type`, 'expected docker or appc');
};

/** Members that were left out are not there at all, which the types cannot say of what `object` reads. */
type Given<T> = { readonly [N in keyof T as undefined extends T[N] ? never : N]: T[N] } & {
  readonly [N in keyof T as undefined extends T[N] ? N : never]?: Exclude<T[N], undefined>;
};

export function withoutUndefined<T extends object>(members: T): Given<T> {
  return Object.fromEntries(Object.entries(members).filter(([, member]) => member !== undefined)) as Given<T>;
}

function unknown(what: string, name: string, known: readonly string[]): LarderError {
  const near = nearestName(name, known);
  return new HttpRefusal(400, `read the request: ${what}: ${JSON.stringify(printable(name.slice(0, 80)))}: unknown`, {
    hint: near === undefined ? `known members: ${known.join(', ')}` : `did you mean ${near}?`,
  });
}

function invalid(what: string, expected: string): LarderError {
  return new HttpRefusal(400, `read the request: ${what}: ${expected}`);
}
