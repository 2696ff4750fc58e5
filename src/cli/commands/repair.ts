import { KIND_TABLE } from '../../errors.js';
import type { Repair } from '../../repair.js';
import type { Command } from '../command.js';

/** `larder repair [REF…]`: exits with the status of `corrupt` when something could not be repaired. */
export const repair: Command = async ({ larder, onEvent, signal }, args) => {
  const repairs: Repair[] = [];
  for await (const one of (await larder()).repair(args, { onEvent, signal })) repairs.push(one);
  const failed = repairs.filter(({ outcome }) => outcome === 'failed').length;
  const lines = repairs.map(({ what, subject, outcome, message }) => `${outcome}: ${what} ${subject}: ${message}`);
  const verdict =
    failed > 0
      ? `${failed} of ${repairs.length} could not be repaired`
      : repairs.length > 0
        ? `${repairs.length} repaired`
        : 'nothing to repair';
  return {
    data: { sound: failed === 0, repairs },
    text: [...lines, verdict].join('\n'),
    exitCode: failed > 0 ? KIND_TABLE.corrupt.exit : 0,
  };
};
