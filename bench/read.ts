/**
 * `npm run bench -- read [OPTIONS]`: the first read of an image's files with nothing in memory: through larder's EROFS
 * image over the layers' tars, and from the directories that containerd made of the same layers, both as they are
 * mounted for a container; on one disk, in turns.
 *
 *     --registry HOST:PORT (127.0.0.1:5000)   --images A,B,… (python-like, node-like)   --runs N (5)
 *     --ways A,B,… (all, two, random, few, stat)
 *     --work DIR (/var/tmp/larder-bench)      --out DIR (bench/out)
 *
 * `all`: every file in the order of the directories; `two`: by two processes; `random`: in no order, the same for both;
 * `few`: 200 files of those; `stat`: no file is read, every one is looked at.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Larder, openLarder } from '../src/index.js';
import { CHECKOUT } from '../test/checkout.js';
import { type Cost, costOf, saveJson } from './cost.js';
import { describeMachine, dropCaches, wipe } from './machine.js';
import { formatMs, formatRatio, summarize } from './statistics.js';
import { Containerd } from './tools/containerd.js';
import { ProcessGroup } from './tools/process-group.js';
import { call } from './tools/tool.js';

const { values } = parseArgs({
  options: {
    registry: { type: 'string', default: '127.0.0.1:5000' },
    images: { type: 'string', default: 'python-like,node-like' },
    ways: { type: 'string', default: 'all,two,random,few,stat' },
    runs: { type: 'string', default: '5' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
  },
});

/** Shell, with the root filesystem as the working directory and the list of files as $1. */
const WAYS: Readonly<Record<string, string>> = {
  all: 'xargs -0 cat -- < "$1" > /dev/null',
  two: 'xargs -0 -P 2 -n 2000 cat -- < "$1" > /dev/null',
  random: 'xargs -0 cat -- < "$1.random" > /dev/null',
  few: 'head -z -n 200 "$1.random" | xargs -0 cat -- > /dev/null',
  stat: 'find . -xdev -ls > /dev/null',
};

interface Measurement extends Cost {
  readonly tool: string;
  readonly way: string;
  readonly image: string;
  readonly run: number;
}

const work = join(values.work, 'read');

if (process.getuid?.() !== 0) throw new Error('bench: needs root: it mounts, and drops caches');
await main();

async function main(): Promise<void> {
  wipe(work);
  mkdirSync(join(work, 'ctr'), { recursive: true });
  const group = new ProcessGroup('read');
  group.create();
  const containerd = new Containerd(group, join(work, 'ctr'));
  const larder = await openLarder({ root: join(work, 'larder') });
  const measurements: Measurement[] = [];
  try {
    await containerd.start();
    for (const image of values.images.split(',')) measurements.push(...(await measureImage(larder, containerd, image)));
  } finally {
    await larder.close();
    await containerd.stop();
    await group.remove();
    wipe(work);
  }
  const path = saveJson(values.out, 'read', { machine: describeMachine(values.work), measurements });
  process.stdout.write(`${path}\n`);
}

async function measureImage(larder: Larder, containerd: Containerd, image: string): Promise<Measurement[]> {
  const reference = `${values.registry}/${image}`;
  const id = `read-${image}`;
  const { rootfs } = await larder.provision(reference, { id });
  await containerd.pullAndProvision(reference, id);
  const roots = new Map([
    ['larder', rootfs],
    ['ctr', join(work, 'ctr', 'mounts', id)],
  ]);
  const list = join(work, `${image}.files`);
  writeFileLists(rootfs, list);
  const found: Measurement[] = [];
  for (const way of values.ways.split(',')) {
    for (let run = 0; run < Number(values.runs); run++) {
      const order = run % 2 === 0 ? [...roots] : [...roots].reverse();
      for (const [tool, root] of order) {
        dropCaches();
        call('sh', ['-c', 'cat "$1" "$1.random" > /dev/null', 'sh', list]);
        const script = `cd "$2" && ${WAYS[way] ?? 'exit 2'}`;
        const cost = await costOf(() => {
          call('sh', ['-c', script, 'sh', list, root]);
        });
        found.push({ tool, way, image, run, ...cost });
      }
    }
    report(image, way, found);
  }
  await containerd.destroy(id);
  await larder.destroy(id);
  return found;
}

/** Names separated by NUL: in the order of the directories, and shuffled the same way each time. */
function writeFileLists(root: string, list: string): void {
  const names = execFileSync('find', ['.', '-xdev', '-type', 'f', '-print0'], { cwd: root, maxBuffer: 1 << 28 });
  const inOrder = names
    .toString('latin1')
    .split('\0')
    .filter((name) => name !== '');
  writeFileSync(list, `${inOrder.join('\0')}\0`, 'latin1');
  const shuffled = inOrder.map((name, i) => ({ name, key: (i * 7919 + 13) % 1_000_003 }));
  shuffled.sort((a, b) => ((a.key * 31) % 65_537) - ((b.key * 31) % 65_537));
  writeFileSync(`${list}.random`, `${shuffled.map(({ name }) => name).join('\0')}\0`, 'latin1');
}

function report(image: string, way: string, measurements: readonly Measurement[]): void {
  const of = (tool: string) =>
    summarize(
      measurements.filter((one) => one.image === image && one.way === way && one.tool === tool).map((one) => one.ms),
    );
  const [larder, ctr] = [of('larder'), of('ctr')];
  const show = ({ median, min, max }: typeof larder) => `${formatMs(median)} (${formatMs(min)} to ${formatMs(max)})`;
  process.stdout.write(
    `${image}, ${way}: larder ${show(larder)}, containerd ${show(ctr)}: ${formatRatio(larder.median, ctr.median)}\n`,
  );
}
