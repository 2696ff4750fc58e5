import { LarderError } from '../errors.js';

/** The name of a container: one path component that is safe as a directory name. Made only by {@link parseContainerId}. */
export type ContainerId = string & { readonly __brand: 'container-id' };

const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Rejects with LARDER_REQUEST_INVALID. Names ending in `.lock` are larder's own. */
export function parseContainerId(text: string): ContainerId {
  if (!ID.test(text) || text.endsWith('.lock')) {
    throw new LarderError(
      'LARDER_REQUEST_INVALID',
      `container id: ${JSON.stringify(text.slice(0, 140))}: not a valid name`,
      {
        hint: 'use up to 128 letters, digits, "_", "." and "-", starting with a letter or a digit',
      },
    );
  }
  return text as ContainerId;
}
