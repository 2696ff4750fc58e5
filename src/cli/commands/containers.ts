import { familiarImage } from '../../spec/any-image.js';
import type { Command } from '../command.js';
import { formatAge, formatTable } from '../format.js';

/** `larder containers` */
export const containers: Command = async ({ open }) => {
  const claims = await (await open()).containers();
  const nowMs = Date.now();
  // A line for each root filesystem: the container's own and its image volumes'.
  const rows = claims.flatMap((claim) =>
    claim.images.map(({ name, type, reference, backend, rootfs }) => [
      name === '' ? claim.container : `${claim.container} ${name}`,
      familiarImage({ type, reference }),
      backend,
      formatAge(claim.createdAtMs, nowMs),
      rootfs,
    ]),
  );
  return {
    data: claims,
    text:
      claims.length === 0
        ? 'no containers'
        : formatTable(['CONTAINER', 'IMAGE', 'BACKEND', 'MADE', 'ROOT FILESYSTEM'], rows),
  };
};
