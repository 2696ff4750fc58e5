/** `run OPTIONS`, in a mount namespace of its own: records one file system and judges what power cuts leave of it. */
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ImageSource } from '../../src/testing/image-source.js';
import { randomOf } from '../nemesis/words.js';
import { Disk } from './attached-disk.js';
import { type CrashState, crashStates, epochsOf } from './crash-states.js';
import { type DiskEvent, readEvents } from './disk-log.js';
import { History } from './history.js';
import { judge } from './judge.js';
import { ImageFile } from './medium.js';
import { type FileSystem, record } from './recorder.js';
import { World } from './world.js';

export interface RunOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly seed: number;
  readonly lives: number;
  readonly subsets: number;
  readonly torn: number;
  /** So many of all states, chosen at random; all when it is left out. */
  readonly states?: number;
  /** The compiled code whose processes use the store. */
  readonly code?: string;
  /** Which of the states the store's own check reads all bytes of: each one, each second one, … */
  readonly deepEvery: number;
  /** Ends with the first fault. */
  readonly untilFault: boolean;
}

export interface RunReport {
  readonly fileSystem: FileSystem;
  readonly writes: number;
  readonly epochs: number;
  readonly promises: number;
  /** Different ones. */
  readonly states: number;
  readonly judged: Readonly<Record<CrashState['kind'], number>>;
  readonly unmountable: readonly string[];
  readonly faults: readonly string[];
  readonly recordedMs: number;
  readonly judgedMs: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as RunOptions;
const say = (word: string, value: unknown): void => console.log(`${word} ${JSON.stringify(value)}`);
say('report', await run(options));

async function run({ fileSystem, directory, seed, lives, code, ...amounts }: RunOptions): Promise<RunReport> {
  const startMs = performance.now();
  mkdirSync(join(directory, 'world'), { recursive: true });
  const source = await ImageSource.start();
  const world = new World(source, join(directory, 'world'));
  const recording = await record({
    ...{ fileSystem, directory, world, lives: world.lives(lives, seed) },
    ...(code === undefined ? {} : { code }),
  }).finally(() => source[Symbol.asyncDispose]());
  const events = readEvents(recording.log);
  const recordedMs = performance.now() - startMs;
  const image = new ImageFile(openSync(recording.image, 'r'));
  const all = [...crashStates(events, image, { ...amounts, seed })];
  const chosen = sample(all, amounts.states ?? all.length, seed);
  say('recorded', {
    fileSystem,
    events: events.length,
    states: all.length,
    judging: chosen.length,
    ms: Math.round(recordedMs),
  });

  const judged = { boundary: 0, prefix: 0, subset: 0, torn: 0 };
  const [faults, unmountable]: [string[], string[]] = [[], []];
  const place = join(directory, 'mount');
  await using disk = await Disk.attach({ mode: 'replay', directory: join(directory, 'replay'), ...recording });
  let toldMs = performance.now();
  let done = 0;
  for (const { state, expected } of withExpectations(chosen, events)) {
    done++;
    disk.become(state);
    judged[state.kind]++;
    try {
      disk.mount(fileSystem, place);
    } catch (error) {
      unmountable.push(`${nameOf(state)}: ${error instanceof Error ? error.message : String(error)}`);
      continue;
    }
    const found = await judge({
      ...{ root: join(place, 'store'), acis: world.acis, expected, deep: done % amounts.deepEvery === 0 },
      ...{ versions: world.versions, dependencies: world.dependencies },
    });
    await disk.unmount();
    if (found.length > 0) faults.push(`${nameOf(state)}:\n${found.map((line) => `  ${line}`).join('\n')}`);
    if (found.length > 0) say('fault', faults.at(-1));
    if (faults.length > 0 && amounts.untilFault) break;
    if (performance.now() - toldMs < 10_000) continue;
    toldMs = performance.now();
    say('progress', {
      fileSystem,
      judged: done,
      of: chosen.length,
      faults: faults.length,
      unmountable: unmountable.length,
    });
  }
  return {
    ...{ fileSystem, states: all.length, judged, unmountable, faults },
    writes: events.filter(({ kind }) => kind === 'write').length,
    epochs: epochsOf(events).length,
    promises: events.filter((event) => event.kind === 'mark' && event.text.includes('"ok"')).length,
    recordedMs: Math.round(recordedMs),
    judgedMs: Math.round(performance.now() - startMs - recordedMs),
  };
}

/** In their order. */
function sample(all: readonly CrashState[], count: number, seed: number): readonly CrashState[] {
  if (count >= all.length) return all;
  const random = randomOf(seed);
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(random(all.length));
  return all.filter((_, i) => chosen.has(i));
}

/** What was acknowledged before the epoch's end must be there in all of its states: nothing forced its writes to arrive. */
function* withExpectations(states: readonly CrashState[], events: readonly DiskEvent[]) {
  const epochs = epochsOf(events);
  const history = new History();
  let taken = 0;
  for (const state of states) {
    for (const end = epochs[state.epoch]?.end ?? 0; taken < end; taken++) {
      const event = events[taken];
      if (event?.kind === 'mark') history.take(JSON.parse(event.text));
    }
    yield { state, expected: history };
  }
}

function nameOf({ kind, epoch, events, torn }: CrashState): string {
  const more = torn === undefined ? '' : `, ${torn.sectors.length} sectors of ${torn.event}`;
  return `${kind} of epoch ${epoch}, ${events.length} writes${more}`;
}
