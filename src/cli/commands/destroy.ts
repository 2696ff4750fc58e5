import { LarderError } from '../../errors.js';
import type { Command } from '../command.js';

/** `larder destroy ID…` */
export const destroy: Command = async ({ open, onEvent, signal }, ids) => {
  const store = await open();
  const unknown: string[] = [];
  for (const id of ids) if (!(await store.destroy(id, { onEvent, signal }))) unknown.push(id);
  if (unknown.length > 0) {
    throw new LarderError('LARDER_CONTAINER_NOT_FOUND', `destroy ${unknown.join(', ')}: there is no such container`, {
      hint: '`larder containers` lists them',
    });
  }
  return { data: { destroyed: ids }, text: ids.join('\n') };
};
