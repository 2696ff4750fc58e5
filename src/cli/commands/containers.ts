import { familiarReference, parseReference } from '../../spec/reference.js';
import type { Command } from '../command.js';
import { formatAge, formatTable } from '../format.js';

/** `larder containers` */
export const containers: Command = async ({ larder }) => {
  const claims = (await larder()).containers();
  const nowMs = Date.now();
  const rows = claims.map((claim) => [
    claim.container,
    claim.images.map((image) => familiarReference(parseReference(image.reference))).join(', '),
    claim.backend,
    formatAge(claim.createdAtMs, nowMs),
    claim.rootfs,
  ]);
  return {
    data: claims,
    text:
      claims.length === 0
        ? 'no containers'
        : formatTable(['CONTAINER', 'IMAGE', 'BACKEND', 'MADE', 'ROOT FILESYSTEM'], rows),
  };
};
