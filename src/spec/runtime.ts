import { LarderError } from '../errors.js';
import type { ImageConfig } from './image-config.js';

/** How an image asks to be run, with the defaults that every runtime fills in. */
export interface RuntimeConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value` */
  readonly env: readonly string[];
  /** Absolute. */
  readonly cwd: string;
  readonly user: RuntimeUser;
  readonly stopSignal: string;
}

/** Ids as numbers, or names that the image's own passwd and group resolve. */
export interface RuntimeUser {
  readonly user: number | string;
  readonly group?: number | string;
}

/** Rejects with LARDER_CONFIG_INVALID. */
export function runtimeConfigOf({ config }: ImageConfig, doing = 'image config'): RuntimeConfig {
  const bad = (what: string, text: string): LarderError =>
    new LarderError('LARDER_CONFIG_INVALID', `${doing}: ${what} ${JSON.stringify(text.slice(0, 100))} is not valid`);
  for (const entry of config.Env) {
    if (!/^[^=\0]+=[^\0]*$/.test(entry)) throw bad('Env', entry);
  }
  if (config.WorkingDir.includes('\0')) throw bad('WorkingDir', config.WorkingDir);
  return {
    entrypoint: config.Entrypoint ?? [],
    cmd: config.Cmd ?? [],
    env: config.Env,
    cwd: config.WorkingDir.startsWith('/') ? config.WorkingDir : `/${config.WorkingDir}`,
    user: parseRuntimeUser(config.User, () => bad('User', config.User)),
    stopSignal: config.StopSignal === '' ? 'SIGTERM' : config.StopSignal,
  };
}

/** Linux reserves the last id: chown(2) reads -1 as "leave it". */
const MAX_ID = 2 ** 32 - 2;
const NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,254}\$?$/;

/**
 * `user[:group]`, each a decimal id or a name. What looks like a number is one, and is refused when it is no id: a
 * lookup as a name, or a wrap to 0, has made root of such users (CVE-2024-40635, CVE-2016-3697).
 */
export function parseRuntimeUser(text: string, bad: () => LarderError): RuntimeUser {
  if (text === '') return { user: 0 };
  const [user = '', group, ...rest] = text.split(':');
  if (rest.length > 0) throw bad();
  return { user: parseId(user, bad), ...(group === undefined || group === '' ? {} : { group: parseId(group, bad) }) };
}

function parseId(text: string, bad: () => LarderError): number | string {
  if (/^\d{1,10}$/.test(text) && Number(text) <= MAX_ID) return Number(text);
  if (NAME.test(text)) return text;
  throw bad();
}
