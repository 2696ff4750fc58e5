import type { Finding } from '../../check.js';
import { KIND_TABLE } from '../../errors.js';
import type { Command } from '../command.js';

/** `larder check [--deep]`: exits with the status of `corrupt` when an invariant is broken; garbage is only reported. */
export const check: Command = async ({ open, onEvent, signal }, _args, options) => {
  const findings: Finding[] = [];
  for await (const finding of (await open()).check({ deep: options['deep'] === true, onEvent, signal }))
    findings.push(finding);
  const faults = findings.filter((finding) => finding.kind === 'fault').length;
  const lines = findings.map(
    ({ kind, invariant, subject, message }) => `${kind} (${invariant}): ${subject}: ${message}`,
  );
  const verdict =
    faults > 0 ? `${faults} broken` : findings.length > 0 ? 'sound; `larder prune` removes the garbage' : 'clean';
  return {
    data: { clean: findings.length === 0, sound: faults === 0, findings },
    text: [...lines, verdict].join('\n'),
    exitCode: faults > 0 ? KIND_TABLE.corrupt.exit : 0,
  };
};
