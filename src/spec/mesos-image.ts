import { type ErrorCode, LarderError } from '../errors.js';
import type { AppcImage, DockerImage, Image, Secret } from './image.js';

/** Where the JSON came from, and the code that a wrong one is refused with. */
export interface MesosContext {
  readonly doing: string;
  /** Default LARDER_REQUEST_INVALID. */
  readonly code?: ErrorCode;
}

/**
 * `mesos.Image` in protobuf's JSON, as API calls, task descriptions and `image_gc_config` have it: `{"type": "DOCKER",
 * "docker": {"name": …, "config": Secret}, "cached": …}`, `{"type": "APPC", "appc": {"name": …, "id": …, "labels":
 * {"labels": [{"key": …, "value": …}]}}}`. Null is unset and unknown keys are left alone, as protobuf reads JSON;
 * the part that `type` names must be there.
 */
export function parseMesosImage(value: unknown, context: MesosContext): Image {
  const image = objectOf(value, 'the image', context);
  const cached = optionalBoolean(image['cached'], 'cached', context);
  const rest = cached === undefined ? {} : { cached };
  switch (image['type']) {
    case 'DOCKER':
      return { ...dockerImage(objectOf(image['docker'], 'docker', context), context), ...rest };
    case 'APPC':
      return { ...appcImage(objectOf(image['appc'], 'appc', context), context), ...rest };
    default:
      throw refuse(context, `type: ${shown(image['type'])}: expected "DOCKER" or "APPC"`);
  }
}

/** `mesos.Secret` in protobuf's JSON: a reference with a name and perhaps a key, or a value with base64 data, never both. */
export function parseMesosSecret(value: unknown, context: MesosContext): Secret {
  const secret = objectOf(value, 'the secret', context);
  const reference = secret['reference'] ?? undefined;
  const given = secret['value'] ?? undefined;
  const type = secret['type'] ?? (reference === undefined ? 'VALUE' : 'REFERENCE');
  if (type === 'REFERENCE' && reference !== undefined && given === undefined) {
    const { name, key } = objectOf(reference, 'reference', context);
    const part = optionalText(key, 'reference.key', context);
    return {
      type: 'reference',
      reference: { name: text(name, 'reference.name', context), ...(part === undefined ? {} : { key: part }) },
    };
  }
  if (type === 'VALUE' && given !== undefined && reference === undefined)
    return { type: 'value', value: decoded(objectOf(given, 'value', context)['data'], context) };
  throw refuse(context, 'the secret: expected type REFERENCE with a reference, or type VALUE with a value');
}

function dockerImage(docker: Record<string, unknown>, context: MesosContext): DockerImage {
  const config = docker['config'] ?? undefined;
  return {
    type: 'docker',
    name: text(docker['name'], 'docker.name', context),
    ...(config === undefined ? {} : { config: parseMesosSecret(config, context) }),
  };
}

function appcImage(appc: Record<string, unknown>, context: MesosContext): AppcImage {
  const id = optionalText(appc['id'], 'appc.id', context);
  const labels = appc['labels'] ?? undefined;
  return {
    type: 'appc',
    name: text(appc['name'], 'appc.name', context),
    ...(id === undefined ? {} : { id }),
    ...(labels === undefined ? {} : { labels: labelsOf(objectOf(labels, 'appc.labels', context), context) }),
  };
}

function labelsOf({ labels }: Record<string, unknown>, context: MesosContext): Readonly<Record<string, string>> {
  const list: unknown = labels ?? [];
  if (!Array.isArray(list)) throw refuse(context, 'appc.labels.labels: expected a list');
  const found = new Map<string, string>();
  for (const item of list) {
    const label = objectOf(item, 'appc.labels.labels', context);
    const key = text(label['key'], 'appc.labels.labels: key', context);
    if (found.has(key)) throw refuse(context, `appc.labels.labels: ${shown(key)} comes twice`);
    found.set(key, optionalText(label['value'], 'appc.labels.labels: value', context) ?? '');
  }
  return Object.fromEntries(found);
}

/** What is wrong with a secret's data is said without showing any of it. */
function decoded(data: unknown, context: MesosContext): string {
  if (typeof data !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(data))
    throw refuse(context, 'the secret: value.data: expected base64');
  return Buffer.from(data, 'base64').toString('utf8');
}

function objectOf(value: unknown, what: string, context: MesosContext): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refuse(context, `${what}: expected an object`);
  return value as Record<string, unknown>;
}

function text(value: unknown, what: string, context: MesosContext): string {
  if (typeof value !== 'string' || value === '') throw refuse(context, `${what}: expected a non-empty text`);
  return value;
}

function optionalText(value: unknown, what: string, context: MesosContext): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw refuse(context, `${what}: expected a text`);
  return value;
}

function optionalBoolean(value: unknown, what: string, context: MesosContext): boolean | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'boolean') throw refuse(context, `${what}: expected true or false`);
  return value;
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100);
}

function refuse({ doing, code = 'LARDER_REQUEST_INVALID' }: MesosContext, what: string): LarderError {
  return new LarderError(code, `${doing}: ${what}`);
}
