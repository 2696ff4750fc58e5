/**
 * `disk OPTIONS`: a disk as a file, for a loop device to lie on. It says `ready` when it is there. Recording, it keeps
 * all that it is told in a log, in order with the lines that are written into `marks` beside it. Replaying, it is as a
 * power cut left it: `state` says which one, and what is written is gone with the next, but for a part where that is
 * the same once more.
 */
import { fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { randomOf } from '../nemesis/words.js';
import type { CrashState } from './crash-states.js';
import { epochsOf, putOnto } from './crash-states.js';
import { appendEvent, type DiskEvent, readEvents } from './disk-log.js';
import { type FuseFile, serveFuse } from './fuse.js';
import { ImageFile, Medium } from './medium.js';

export interface DiskOptions {
  readonly mode: 'record' | 'replay';
  /** Where `disk` and its companion appear. */
  readonly directory: string;
  readonly image: string;
  readonly log: string;
}

export interface ReplayedState extends CrashState {
  /** The power went once more while the disk was this state: all up to one of the flushes since, chosen by this seed. */
  readonly again?: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as DiskOptions;
const files = options.mode === 'record' ? recording(options) : replaying(options);
serveFuse(options.directory, files, () => process.stdout.write('ready\n'));

function recording({ image, log }: DiskOptions): Record<string, FuseFile> {
  const [fd, to] = [openSync(image, 'r+'), openSync(log, 'ax')];
  const tell = (event: DiskEvent): void => appendEvent(to, event);
  const put = (bytes: Buffer, offset: number): void => {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  };
  return {
    disk: {
      size: fstatSync(fd).size,
      read: (target, offset) => void readSync(fd, target, 0, target.length, offset),
      write: (bytes, offset) => {
        tell({ kind: 'write', offset, bytes });
        put(bytes, offset);
      },
      fsync: () => tell({ kind: 'flush' }),
      punch: (offset, length) => {
        tell({ kind: 'punch', offset, length });
        put(Buffer.alloc(length), offset);
      },
    },
    marks: { size: 0, write: (bytes) => tell({ kind: 'mark', text: bytes.toString() }) },
  };
}

function replaying({ image, log }: DiskOptions): Record<string, FuseFile> {
  const fd = openSync(image, 'r');
  const events = readEvents(log);
  const epochs = epochsOf(events);
  const durable = new Medium(new ImageFile(fd));
  let reached = 0;
  let now = new Medium(durable);
  let told: DiskEvent[] = [];
  const become = ({ again, ...state }: ReplayedState): void => {
    if (state.epoch < reached) throw new Error(`epoch ${state.epoch} is over: ${reached} has begun`);
    for (; reached < state.epoch; reached++) for (const i of epochs[reached]?.events ?? []) applyTo(durable, i);
    now = new Medium(durable);
    putOnto(now, events, state);
    if (again !== undefined) putSome(now, told, again);
    told = [];
  };
  const tell = (event: DiskEvent): void => {
    told.push(event);
    now.apply(event);
  };
  const applyTo = (medium: Medium, i: number): void => {
    const event = events[i];
    if (event !== undefined) medium.apply(event);
  };
  return {
    disk: {
      size: fstatSync(fd).size,
      read: (target, offset) => now.read(target, offset),
      write: (bytes, offset) => tell({ kind: 'write', offset, bytes: Buffer.from(bytes) }),
      fsync: () => tell({ kind: 'flush' }),
      punch: (offset, length) => tell({ kind: 'punch', offset, length }),
    },
    state: { size: 0, write: (bytes) => become(JSON.parse(bytes.toString())) },
  };
}

/** All up to a flush, and any of what came between that and the next one. */
function putSome(medium: Medium, told: readonly DiskEvent[], seed: number): void {
  const random = randomOf(seed);
  const cut = random(told.length + 1);
  const last = told.findLastIndex(({ kind }, i) => kind === 'flush' && i < cut);
  for (const [i, event] of told.slice(0, cut).entries()) if (i < last || random(2) === 0) medium.apply(event);
}
