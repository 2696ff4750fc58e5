/** The value of one setting, by its kind: what a file, a variable, an option or a caller gives, checked. */
import { BACKEND_NAMES } from './backends/backend.js';
import { parseAppcTrust, parseImageGcConfig } from './config-documents.js';
import { SETTINGS, type SettingName } from './config-settings.js';
import { DURATION, documentSource, parseDurationMs, readDocument } from './config-values.js';
import { LarderError } from './errors.js';
import { parseDockerRegistry } from './spec/docker-registry.js';
import type { ImageType } from './spec/image.js';
import { SecretText } from './spec/secret-text.js';

/** Rejects with LARDER_FLAGS_INVALID, with the value where it is no secret; `where` says who gave it. */
export function parseValue(name: SettingName, value: unknown, where: string): unknown {
  const doing = `setting ${name} (${where})`;
  const { kind } = SETTINGS[name];
  const bad = (expected: string): LarderError => {
    const shown = isSecret(kind, value) ? '' : `${JSON.stringify(value)}: `.slice(0, 200);
    return new LarderError('LARDER_FLAGS_INVALID', `${doing}: ${shown}expected ${expected}`);
  };
  switch (kind) {
    case 'text':
      if (typeof value !== 'string' || value === '') throw bad('a non-empty text');
      return value;
    case 'bool':
      if (value === true || value === 'true' || value === '1') return true;
      if (value === false || value === 'false' || value === '0') return false;
      throw bad('true or false');
    case 'backend':
      if (!BACKEND_NAMES.some((known) => known === value)) throw bad(`one of ${BACKEND_NAMES.join(', ')}`);
      return value;
    case 'list':
      return listOf(value, bad);
    case 'providers':
      return providersOf(listOf(value, bad), bad);
    case 'prefix':
    case 'registry':
      if (typeof value !== 'string' || !PREFIX.test(value)) throw bad('http://…, https://…, file:///…, hdfs://… or /…');
      if (kind === 'registry') parseDockerRegistry(value);
      else refuseUserInfo(value, doing);
      return value;
    case 'count': {
      const n = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
      if (typeof n !== 'number' || !Number.isSafeInteger(n) || n < 1) throw bad('a whole number above 0');
      return n;
    }
    case 'duration': {
      const ms = parseDurationMs(value);
      if (ms === undefined) throw bad(DURATION);
      return ms;
    }
    case 'credentials':
    case 'gc':
    case 'trust': {
      const source = documentSource(value);
      if (source === undefined) throw bad('JSON, file:///PATH or the path of a file');
      if (kind === 'gc') return parseImageGcConfig(readDocument(source, doing), doing);
      if (kind === 'trust') return parseAppcTrust(readDocument(source, doing), doing);
      if (source.kind === 'file') return source;
      readDocument(source, doing);
      return { kind: 'inline', text: new SecretText(source.text) };
    }
  }
}

/** No white space, no control characters: such a prefix is a typing error. */
const PREFIX = /^(?:https?:\/\/|hdfs:\/\/|file:\/\/\/|\/)[^\s\0-\x1f\x7f]*$/i;
const PROVIDERS: readonly ImageType[] = ['docker', 'appc'];

/** What may hold a password is not repeated. */
function isSecret(kind: string, value: unknown): boolean {
  return kind === 'credentials' || (typeof value === 'string' && value.includes('@'));
}

/** Such a prefix stands in messages, events and records. */
function refuseUserInfo(prefix: string, doing: string): void {
  if (!/^[a-z]+:\/\/[^/?#]*@/i.test(prefix)) return;
  throw new LarderError('LARDER_FLAGS_INVALID', `${doing}: it has user information, and nobody logs in there`, {
    hint: 'offer the images where no login is needed',
  });
}

type Bad = (expected: string) => LarderError;

function listOf(value: unknown, bad: Bad): readonly string[] {
  const items = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
  if (!Array.isArray(items) || !items.every((item) => typeof item === 'string')) throw bad('a list of texts');
  return items.filter((item) => item !== '');
}

function providersOf(names: readonly string[], bad: Bad): readonly ImageType[] {
  const found = names.map((name) => PROVIDERS.find((known) => known === name.trim().toLowerCase()));
  const types = PROVIDERS.filter((known) => found.includes(known));
  if (types.length === 0 || found.includes(undefined)) throw bad(`some of ${PROVIDERS.join(', ')}`);
  return types;
}
