import { LarderError } from '../../errors.js';
import type { Command } from '../command.js';
import { formatCount } from '../format.js';

/**
 * `larder recover [--destroy-unknown [ID…]]`: brings the store in line with what is on disk, and mounts this owner's
 * containers again after a reboot. With the option, those that are not named are destroyed.
 */
export const recover: Command = async ({ open, onEvent, signal }, ids, options) => {
  const destroys = options['destroyUnknown'] === true;
  if (ids.length > 0 && !destroys) {
    throw new LarderError('LARDER_REQUEST_INVALID', 'recover: containers are named, but none would be destroyed', {
      hint: 'add --destroy-unknown to destroy all others of this owner, or name none',
    });
  }
  const store = await open();
  const before = (await store.containers()).map(({ container }): string => container);
  await store.recover(destroys ? ids : before, { onEvent, signal });
  const after = new Set((await store.containers()).map(({ container }): string => container));
  const destroyed = before.filter((container) => !after.has(container));
  return {
    data: { kept: [...after], destroyed },
    text: [...destroyed, `kept ${formatCount(after.size, 'container')}, destroyed ${destroyed.length}`].join('\n'),
  };
};
