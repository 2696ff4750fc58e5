/**
 * Names of containers. A container may be nested in others, as Mesos nests them: `parent/child/grandchild`. Each part is
 * a name that is safe as a file's; the whole is bounded, so that it stays a file's name when its parts are joined.
 */
import { LarderError } from '../errors.js';

/** The name of a container, its ancestors' before it. Made only by {@link parseContainerId} and what follows it. */
export type ContainerId = string & { readonly __brand: 'container-id' };

const PART = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const MAX_LEVELS = 5;
const MAX_LENGTH = 200;
/** No part has it, so that two names never share a directory. */
const JOIN = '+';

/** Rejects with LARDER_REQUEST_INVALID. Names ending in `.lock` are larder's own. */
export function parseContainerId(text: string): ContainerId {
  const parts = text.length > MAX_LENGTH ? [] : text.split('/');
  if (parts.length === 0 || parts.length > MAX_LEVELS || !parts.every(isName)) {
    throw new LarderError(
      'LARDER_REQUEST_INVALID',
      `container id: ${JSON.stringify(text.slice(0, 220))}: not a valid name`,
      {
        hint: 'use up to 128 letters, digits, "_", "." and "-", starting with a letter or a digit; nested containers as parent/child, up to 5 levels and 200 characters',
      },
    );
  }
  return text as ContainerId;
}

/** Whether it may be one part of a container's name, or a volume's name. */
export function isName(text: string): boolean {
  return PART.test(text) && !text.endsWith('.lock');
}

/** One component of a path; {@link containerOfDirectory} reads it back. */
export function directoryNameOf(id: ContainerId): string {
  return id.replaceAll('/', JOIN);
}

/** Undefined when no container's directory is called so. */
export function containerOfDirectory(name: string): ContainerId | undefined {
  const parts = name.split(JOIN);
  const text = parts.join('/');
  return parts.length <= MAX_LEVELS && text.length <= MAX_LENGTH && parts.every(isName)
    ? (text as ContainerId)
    : undefined;
}

/** The containers that this one is in, the outermost first. */
export function ancestorsOf(id: ContainerId): ContainerId[] {
  const parts = id.split('/');
  return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('/') as ContainerId);
}

export function isBelow(id: ContainerId, ancestor: ContainerId): boolean {
  return id.startsWith(`${ancestor}/`);
}

/** The order in which nested containers go: children before their parents. */
export function deepestFirst(a: ContainerId, b: ContainerId): number {
  return b.split('/').length - a.split('/').length;
}

/** The containers and those that exist only because something is nested in them, parents first. */
export function listWithParents(ids: Iterable<ContainerId>): ContainerId[] {
  const all = new Set<ContainerId>();
  for (const id of ids) for (const each of [...ancestorsOf(id), id]) all.add(each);
  return [...all].sort();
}
