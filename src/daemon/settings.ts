/** Which daemon a call may be handed to: one that was given every setting that the call was given. */
import { createHash } from 'node:crypto';
import type { Flags } from '../config.js';
import { SecretText } from '../spec/secret-text.js';
import type { DaemonFacts } from './wire.js';

/** Carried by each request, or of no concern to what a daemon does. */
const OF_THE_CALL: readonly string[] = [
  'root',
  'docker_store_dir',
  'appc_store_dir',
  'socket',
  'socket_group',
  'grant_lifetime',
  'platform',
];

export function fingerprints(flags: Flags): Readonly<Record<string, string>> {
  const given = Object.entries(flags).filter(([name, value]) => value !== undefined && !OF_THE_CALL.includes(name));
  return Object.fromEntries(given.map(([name, value]) => [name, fingerprint(value)]));
}

/** Why this daemon must not be asked: the first setting that it does not share. Undefined when it may. */
export function difference(flags: Flags, root: string, facts: DaemonFacts): string | undefined {
  if (facts.root !== root) return `its store is ${facts.root}`;
  for (const [name, print] of Object.entries(fingerprints(flags))) {
    // His own login is what a guest is asked for.
    if (facts.ownLogins === true && name === 'docker_config') continue;
    if (facts.settings[name] !== print) return `its setting ${name} is another`;
  }
  return undefined;
}

function fingerprint(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(value)))
    .digest('hex');
}

/** Members in one order, so that equal settings have equal texts. */
function sorted(value: unknown): unknown {
  if (value instanceof SecretText) return value.reveal();
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  );
}
