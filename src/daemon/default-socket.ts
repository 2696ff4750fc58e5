/** ▸ Where the daemon is found: the setting `socket`, or the place of this user's own daemon. */
import { join } from 'node:path';
import type { Flags } from '../config.js';

/** Undefined when the setting is `none`, or when there is no place that only this user can write to. */
export function socketOf(flags: Flags, env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (flags.socket === 'none') return undefined;
  return flags.socket ?? defaultSocket(env);
}

function defaultSocket(env: NodeJS.ProcessEnv): string | undefined {
  if (process.getuid?.() === 0) return '/run/larder/larder.sock';
  const directory = env['XDG_RUNTIME_DIR'];
  return directory?.startsWith('/') === true ? join(directory, 'larder', 'larder.sock') : undefined;
}
