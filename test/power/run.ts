/** `run OPTIONS`, in a mount namespace of its own: records one file system and judges what power cuts leave of it. */
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ImageSource } from '../../src/testing/image-source.js';
import { randomOf } from '../nemesis/words.js';
import { Disk } from './attached-disk.js';
import { type CrashState, crashStates, epochsOf } from './crash-states.js';
import { type DiskEvent, readEvents } from './disk-log.js';
import { History } from './history.js';
import { type Evidence, judge, reopen, type Tally } from './judge.js';
import { ImageFile } from './medium.js';
import { type FileSystem, record } from './recorder.js';
import { treesOf } from './trees.js';
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
  /** Not at random, but the first ones after an operation of this name began. */
  readonly since?: string;
  /** The compiled code whose processes use the store. */
  readonly code?: string;
  /** Which of the states the store's own check reads all bytes of: each one, each second one, … */
  readonly deepEvery: number;
  /** Of so many states one is used, and the power goes a second time meanwhile. */
  readonly twiceEvery: number;
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
  /** Of them, with a second power cut. */
  readonly twice: number;
  readonly compared: Readonly<Tally>;
  /** In which btrfs refuses itself: see {@link isTornSuperblock}. Not judged. */
  readonly tornSuperblocks: number;
  /** States that the kernel refuses, and nobody knows why. */
  readonly unmountable: readonly string[];
  readonly faults: readonly string[];
  readonly recordedMs: number;
  readonly judgedMs: number;
}

const SUPERBLOCK = 64 << 10;

const options = JSON.parse(process.argv[2] ?? '{}') as RunOptions;
const say = (word: string, value: unknown): void => console.log(`${word} ${JSON.stringify(value)}`);
say('report', await run(options));

async function run({ fileSystem, directory, seed, lives, code, ...amounts }: RunOptions): Promise<RunReport> {
  const startMs = performance.now();
  mkdirSync(join(directory, 'world'), { recursive: true });
  await using source = await ImageSource.start();
  const world = new World(source, join(directory, 'world'));
  const recording = await record({
    ...{ fileSystem, directory, world, lives: world.lives(lives, seed) },
    ...(code === undefined ? {} : { code }),
  });
  const trees = await treesOf(world, directory);
  await source[Symbol.asyncDispose]();
  const events = readEvents(recording.log);
  const recordedMs = performance.now() - startMs;
  const image = new ImageFile(openSync(recording.image, 'r'));
  const all = [...crashStates(events, image, { ...amounts, seed })];
  const chosen = choose(all, events, { ...amounts, seed });
  say('recorded', {
    fileSystem,
    events: events.length,
    states: all.length,
    judging: chosen.length,
    ms: Math.round(recordedMs),
  });

  const judged = { boundary: 0, prefix: 0, subset: 0, torn: 0 };
  const tally: Tally = { images: 0, containers: 0, told: 0, copies: 0 };
  const [faults, unmountable]: [string[], string[]] = [[], []];
  const place = join(directory, 'mount');
  await using disk = await Disk.attach({ mode: 'replay', directory: join(directory, 'replay'), ...recording });
  const judgeAgain = async (evidence: Evidence, state: CrashState, seed: number): Promise<string[]> => {
    try {
      await reopen(evidence);
      await disk.unmount();
      disk.become(state, seed);
      disk.mount(fileSystem, place);
    } catch (error) {
      return [`between two power cuts: ${error instanceof Error ? error.message : String(error)}`];
    }
    return judge(evidence);
  };
  let toldMs = performance.now();
  let done = 0;
  let [tornSuperblocks, twice] = [0, 0];
  for (const { state, expected } of withExpectations(chosen, events)) {
    done++;
    disk.become(state);
    try {
      disk.mount(fileSystem, place);
    } catch (error) {
      if (isTornSuperblock(fileSystem, state, events)) {
        tornSuperblocks++;
        continue;
      }
      unmountable.push(`${nameOf(state, events)}: ${error instanceof Error ? error.message : String(error)}`);
      say('not mounted', unmountable.at(-1));
      continue;
    }
    judged[state.kind]++;
    const evidence = {
      ...{ root: join(place, 'store'), acis: world.acis, expected, deep: done % amounts.deepEvery === 0 },
      ...{ versions: world.versions, dependencies: world.dependencies, trees, tally },
    };
    const isTwice = done % amounts.twiceEvery === 0;
    if (isTwice) twice++;
    const found = isTwice ? await judgeAgain(evidence, state, done) : await judge(evidence);
    await disk.unmount();
    if (found.length > 0) faults.push(`${nameOf(state, events)}:\n${found.map((line) => `  ${line}`).join('\n')}`);
    if (found.length > 0) say('fault', faults.at(-1));
    if (faults.length > 0 && amounts.untilFault) break;
    if (performance.now() - toldMs < 10_000) continue;
    toldMs = performance.now();
    say('progress', {
      fileSystem,
      judged: done,
      of: chosen.length,
      kinds: judged,
      faults: faults.length,
      unmountable: unmountable.length,
    });
  }
  return {
    ...{ fileSystem, states: all.length, judged, compared: tally, tornSuperblocks, twice, unmountable, faults },
    writes: events.filter(({ kind }) => kind === 'write').length,
    epochs: epochsOf(events).length,
    promises: events.filter((event) => event.kind === 'mark' && event.text.includes('"ok"')).length,
    recordedMs: Math.round(recordedMs),
    judgedMs: Math.round(performance.now() - startMs - recordedMs),
  };
}

function choose(
  all: readonly CrashState[],
  events: readonly DiskEvent[],
  { states = all.length, since, seed }: Pick<RunOptions, 'states' | 'since' | 'seed'>,
): readonly CrashState[] {
  if (since === undefined) return sample(all, states, seed);
  const begin = events.findIndex((event) => event.kind === 'mark' && JSON.parse(event.text).op === since);
  const epoch = epochsOf(events).findIndex(({ end }) => end > begin);
  return all.filter((state) => state.epoch >= epoch).slice(0, states);
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

/**
 * btrfs writes its superblock of 4 KiB in place, under one checksum, and believes that a disk writes it as a whole: of a
 * part of one that changes all of it, it says `superblock checksum mismatch`, and leaves its copies to a rescue tool.
 */
function isTornSuperblock(fileSystem: FileSystem, { torn }: CrashState, events: readonly DiskEvent[]): boolean {
  const event = torn === undefined ? undefined : events[torn.event];
  const isOver =
    event?.kind === 'write' && event.offset <= SUPERBLOCK && event.offset + event.bytes.length > SUPERBLOCK;
  return fileSystem === 'btrfs' && isOver;
}

function nameOf({ kind, epoch, events: arrived, torn }: CrashState, events: readonly DiskEvent[]): string {
  const event = torn === undefined ? undefined : events[torn.event];
  const place = event?.kind === 'write' ? `of ${event.bytes.length} bytes at ${event.offset}` : '';
  const more = torn === undefined ? '' : `, ${torn.sectors.length} sectors ${place}`;
  return `${kind} of epoch ${epoch}, ${arrived.length} writes${more}`;
}
