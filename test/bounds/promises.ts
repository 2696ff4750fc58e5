/** What is promised with a figure, and the command that shows it: the table at the top of docs/security.md. */

export interface Promised {
  /** P1 to P22; some need two commands. */
  readonly promise: string;
  readonly what: string;
  readonly promised: string;
  /** From the checkout's root. Ends with another status than 0 when the figure falls short. */
  readonly command: string;
  /** What was measured, in what the command printed; nothing where it says nothing of it, which is not enough either. */
  readonly measured: (printed: string) => string | undefined;
  /** Takes hours, or a good part of one. */
  readonly long?: true;
}

const FUZZ_INPUTS = 1_000_000;

const POWER = { command: 'npm run power', measured: line(/\d+ crash states, .*/), long: true } as const;
const SWEEP = { command: 'npm run sweep', measured: line(/\d+ points swept, .*/), long: true } as const;
const NEMESIS = {
  command: 'npm run nemesis -- --operations 100000',
  measured: line(/no violation|\d+ violations/),
  long: true,
} as const;
const CORPUS = { command: 'node dist/test/corpus/main.js', measured: line(/\d+ cases, .*/) } as const;
const HEALING = { command: 'node dist/test/healing/main.js 200 7', measured: counts('missed', 'notHealed', 'touched') };
const MEMORY = { measured: line(/at most \d+ MiB of .*/) } as const;

export const PROMISES: readonly Promised[] = [
  {
    promise: 'P1',
    what: 'a layer is seen only when all its bytes are verified and on the disk',
    promised: '0 of 5,000 crash states with a wrong layer, every mutant caught',
    ...POWER,
  },
  {
    promise: 'P2',
    what: 'after kill -9 at any instant, `recover` leaves a store that is whole',
    promised: 'all points; less than 1 s among 1,000 layers',
    ...SWEEP,
  },
  {
    promise: 'P3',
    what: 'an acknowledged image is there after a power cut',
    promised: '0 lost',
    ...POWER,
  },
  {
    promise: 'P4',
    what: 'an operation that fails leaks nothing',
    promised: '0 bytes, mounts, leases and descriptors',
    ...SWEEP,
  },
  {
    promise: 'P5',
    what: 'prune removes no layer in use, nor one that a pull counts on',
    promised: '0 violations in 100,000 operations of 16 processes',
    ...NEMESIS,
  },
  {
    promise: 'P6',
    what: 'one image pulled by 16 processes at once is downloaded once',
    promised: '1 GET of each blob',
    command: 'node --test --test-reporter tap dist/test/e2e/many-processes.test.js',
    measured: tests('each layer asked for once'),
  },
  {
    promise: 'P7',
    what: 'an image changes nothing outside of its own files',
    promised: '0 changes of the victim in all cases',
    ...CORPUS,
  },
  {
    promise: 'P7',
    what: 'so also without larder’s own checks',
    promised: '0 changes, by the kernel alone',
    command: 'node --test --test-reporter tap dist/test/corpus/confinement.test.js',
    measured: tests('0 changes'),
  },
  {
    promise: 'P8',
    what: 'memory is bounded whatever an image’s bytes are',
    promised: '160 MiB; nothing killed in a control group of 256 MiB',
    command: 'node dist/test/bounds/memory.js',
    ...MEMORY,
  },
  {
    promise: 'P8',
    what: 'and of an image that is at the limits of entries and names',
    promised: '2 GiB',
    command: 'node dist/test/bounds/memory.js --at-limits',
    ...MEMORY,
  },
  {
    promise: 'P9',
    what: 'the disk is bounded: what a bomb of 1 TiB writes, until it is refused',
    promised: '`max_layer_bytes` and 1 MiB, 5 s, nothing left of it',
    command: 'node dist/test/bounds/disk.js',
    measured: line(/at most .* MiB written .*/),
  },
  {
    promise: 'P10',
    what: 'time is linear in entries: pull and provision of twice as many',
    promised: '2.5 times up to a million entries, no case above 30 s',
    command: 'node dist/test/bounds/time.js',
    measured: line(/at most .* times of .*/),
  },
  {
    promise: 'P11',
    what: 'credentials reach no host that they are not for',
    promised: '0 of 40 cases',
    command: 'npm test -- registry/ faults/ foreign-layers proofs',
    measured: tests('0 of them sent'),
  },
  {
    promise: 'P12',
    what: 'no secret in files, messages, answers and `/proc`',
    promised: '0 hits for 12 secrets',
    command: 'node --test --test-reporter tap dist/test/secrets/planted.test.js',
    measured: tests('0 hits'),
  },
  {
    promise: 'P13',
    what: '`check --deep` finds each flipped bit',
    promised: '200 of 200, no false alarm',
    ...HEALING,
  },
  {
    promise: 'P14',
    what: 'the next pull or `repair` heals what is damaged, and touches nothing else',
    promised: 'all',
    ...HEALING,
  },
  {
    promise: 'P15',
    what: 'bad input never ends the process',
    promised: '0 finds in 1,000,000 inputs',
    command: 'npm run fuzz -- --minutes 10',
    measured: fuzzed,
    long: true,
  },
  {
    promise: 'P16',
    what: 'every refusal has its code, and says where',
    promised: 'all cases',
    ...CORPUS,
  },
  {
    promise: 'P17',
    what: 'legal but odd images work, as with umoci',
    promised: 'all trees equal, but for what the case says',
    command: CORPUS.command,
    measured: line(/\d+ trees compared .*/),
  },
  {
    promise: 'P18',
    what: 'what becomes of an image does not depend on how many layers come at once, and in which order',
    promised: 'one digest of the tree',
    command: 'node --test --test-reporter tap dist/test/nemesis/order.test.js',
    measured: tests('one digest'),
  },
  {
    promise: 'P19',
    what: 'the clock may jump by ten years',
    promised: '0 wrong deletions, 0 leases that stay',
    ...NEMESIS,
  },
  {
    promise: 'P20',
    what: 'being durable is affordable: a pull of 1 GiB and 20,000 files against one that syncs nothing',
    promised: '1.3 times',
    command: 'node dist/test/bounds/durability.js',
    measured: line(/\d+ MiB: .* times of .*/),
  },
  {
    promise: 'P21',
    what: 'a store is closed to other users',
    promised: '0 paths; an open one is refused',
    command: 'node --test --test-reporter tap dist/test/hygiene/hygiene.test.js',
    measured: tests('0 paths'),
  },
  {
    promise: 'P22',
    what: 'foreign code among what reads an image’s bytes, decompressors left out',
    promised: '0 packages; every package locked by hash, no known fault',
    command: 'node dist/test/bounds/surface.js',
    measured: line(/\d+ packages among .*/),
  },
];

/** The last line, or part of one, that looks so. */
function line(pattern: RegExp): (printed: string) => string | undefined {
  return (printed) => [...printed.matchAll(new RegExp(pattern, 'g'))].at(-1)?.[0];
}

/** Of node:test's closing lines; nothing when no test ran. */
function tests(shows: string): (printed: string) => string | undefined {
  return (printed) => {
    const [pass = 0, skipped = 0] = ['pass', 'skipped'].map((word) =>
      Number(new RegExp(`^# ${word} (\\d+)$`, 'm').exec(printed)?.[1] ?? 0),
    );
    if (pass === 0) return undefined;
    return `${shows} (${pass} tests${skipped === 0 ? '' : `, ${skipped} skipped`})`;
  };
}

/** Lines of `word: number`. */
function counts(...words: readonly string[]): (printed: string) => string | undefined {
  return (printed) => {
    const found = words.map((word) => new RegExp(`^${word}: \\d+$`, 'm').exec(printed)?.[0]);
    return found.includes(undefined) ? undefined : found.join(', ');
  };
}

function fuzzed(printed: string): string | undefined {
  const inputs = [...printed.matchAll(/: (\d+) inputs in /g)].reduce((sum, [, count]) => sum + Number(count), 0);
  return inputs < FUZZ_INPUTS ? undefined : `${inputs} inputs`;
}
