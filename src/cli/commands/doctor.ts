import type { Diagnosis } from '../../backends/doctor.js';
import { ERROR_TABLE, KIND_TABLE } from '../../errors.js';
import type { Command } from '../command.js';

/** `larder doctor`: exits with the status of LARDER_BACKEND_UNAVAILABLE when something that images need is broken. */
export const doctor: Command = async ({ larder, signal }) => {
  const diagnoses: Diagnosis[] = [];
  for await (const one of (await larder()).doctor({ signal })) diagnoses.push(one);
  const broken = diagnoses.filter(({ outcome }) => outcome === 'broken').length;
  const lines = diagnoses.map(({ name, outcome, message }) => `${outcome.padEnd(7)} ${name}: ${message}`);
  const verdict = broken > 0 ? 'images cannot be trusted to EROFS here: use --backend overlay' : 'EROFS is sound here';
  return {
    data: { sound: broken === 0, diagnoses },
    text: [...lines, verdict].join('\n'),
    exitCode: broken > 0 ? KIND_TABLE[ERROR_TABLE.LARDER_BACKEND_UNAVAILABLE].exit : 0,
  };
};
