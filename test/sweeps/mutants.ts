/** Mistakes, each made in the process under test alone: the sweeps must find every one of them. */
import { rmSync } from 'node:fs';
import { MUTANTS as OF_POWER_CUTS } from '../power/mutants.js';
import { bundleChild, type Change } from './bundled.js';
import { errorSweep, type Fault, killSweep, type SweepResult } from './sweep.js';
import { Tracer } from './tracer.js';
import type { World } from './world.js';

export interface Mutant {
  readonly name: string;
  readonly changes: readonly Change[];
  readonly operation: string;
  /** Else kills find it. */
  readonly fault?: Fault;
  /** The part of the points among which it shows, 0 to 1; it is looked for from there on. */
  readonly from: number;
}

const FULL_ONCE: Fault = { errno: 'ENOSPC', counts: 'space', lasting: false, codes: ['LARDER_NO_SPACE'] };
const BROKEN_ONCE: Fault = { errno: 'EIO', counts: 'changes', lasting: false, codes: ['LARDER_INTERNAL'] };
const QUOTA: Fault = { errno: 'EDQUOT', counts: 'space', lasting: true, codes: ['LARDER_NO_SPACE'] };

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'a claim is given back before the mount that it is for is gone',
    changes: [
      [
        'provisioner/root-filesystems',
        'for (const { name, backend } of claim?.images',
        'if (claim !== undefined) await claims.remove(container); for (const { name, backend } of claim?.images',
      ],
    ],
    operation: 'destroy-erofs',
    from: 0.1,
  },
  {
    name: 'a layer goes before its record',
    changes: ofPowerCuts('a layer goes before its record'),
    operation: 'prune',
    from: 0.3,
  },
  {
    name: 'a container is claimed after it was mounted',
    changes: ofPowerCuts('a container is claimed after it was mounted'),
    operation: 'provision-erofs',
    from: 0.5,
  },
  {
    name: 'a descriptor stays open where a write fails',
    changes: [['linux/durable', 'await handle.close().catch(() => { });', '']],
    ...{ operation: 'pull', fault: FULL_ONCE, from: 0 },
  },
  {
    name: 'a container whose files could not be removed is taken for destroyed',
    changes: [
      [
        'provisioner/root-filesystems',
        'await this.#removeDirectory(container, layout.container(container));',
        'await this.#removeDirectory(container, layout.container(container)).catch(() => {});',
      ],
    ],
    ...{ operation: 'destroy-copy', fault: BROKEN_ONCE, from: 0 },
  },
  {
    name: 'what could not be made once is not made again',
    changes: [['concurrency', 'this.#made = undefined;\n            throw error;', 'throw error;']],
    ...{ operation: 'first-provision', fault: FULL_ONCE, from: 0.2 },
  },
  {
    name: 'a quota is no full disk',
    changes: [['errors', "case 'EDQUOT':", '']],
    ...{ operation: 'provision-copy', fault: QUOTA, from: 0.3 },
  },
];

/** What the sweep finds; nothing where it has no teeth. */
export async function sweepMutant(
  world: World,
  mutant: Mutant,
  points = Number.POSITIVE_INFINITY,
): Promise<SweepResult> {
  const { operation, fault, from, changes } = mutant;
  const program = await bundleChild(`mutant-${process.pid}`, changes);
  try {
    await using tracer = new Tracer(program);
    const choose = (count: number): readonly number[] =>
      Array.from({ length: count }, (_, i) => i + 1)
        .filter((at) => at > count * from)
        .slice(0, points);
    const options = { world, tracer, operation, choose, untilWrong: true };
    return fault === undefined ? await killSweep(options) : await errorSweep(options, fault);
  } finally {
    rmSync(program);
  }
}

function ofPowerCuts(name: string): readonly Change[] {
  const found = OF_POWER_CUTS.find((mutant) => mutant.name === name);
  if (found === undefined) throw new Error(`${name}: there is no such mutant`);
  return found.changes;
}
