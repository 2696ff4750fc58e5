import { LarderError } from '../errors.js';
import { findProgram, runProgram } from './run-program.js';

/** The number of a group, by its name (wherever the host keeps groups: getent(1)) or its number. Rejects with LARDER_FLAGS_INVALID. */
export async function groupNumber(group: string): Promise<number> {
  if (/^\d{1,9}$/.test(group)) return Number(group);
  const doing = `look for the group ${group}`;
  const program = await findProgram('getent');
  const limits = { doing, timeoutMs: 10_000 };
  const answer = program === undefined ? undefined : await runProgram(program, ['--', 'group', group], limits);
  const [name, , number = ''] = (answer?.status === 0 ? answer.stdout : '').split(':');
  if (name === group && /^\d{1,9}$/.test(number)) return Number(number);
  throw new LarderError('LARDER_FLAGS_INVALID', `${doing}: there is no such group`);
}
