/**
 * `npm run bench [-- OPTIONS]`: cold pull to a writable root filesystem, a pull that finds nothing new, a second root
 * filesystem, its end, and the image's removal, with larder, containerd (ctr), podman, Docker and skopeo+umoci: on one
 * machine, in one run, in turns, from one registry.
 *
 *     --registry HOST:PORT   where the images are, plain HTTP (127.0.0.1:5000); bench/images/make.sh fills one
 *     --images A,B,…         repository[:tag] (debian-slim, many-layers, python-like, node-like, big-layer)
 *     --tools A,B,…          larder, larder-library, ctr, podman, docker, skopeo+umoci (those that are installed)
 *     --runs N               (5)
 *     --work DIR             stores go here and are deleted; on the disk to measure (/var/tmp/larder-bench)
 *     --loop-ext4 SIZE       an ext4 with its journal in a file of this size, mounted at DIR for the run
 *     --out DIR              JSON and Markdown (bench/out), written anew after each round
 *     --quiet SECONDS        how long a round may wait until others leave the machine alone (15)
 *     --append JSON          goes on with the runs of an earlier result, in its file
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../test/checkout.js';
import { mountLoopExt4 } from './loop.js';
import { bytesWrittenTo, describeMachine, dropCaches, timed, timeSync, waitUntilQuiet, wipe } from './machine.js';
import { toMarkdown } from './peers-report.js';
import {
  type BenchedImage,
  figuresOf,
  type Measurement,
  type PeersResult,
  readPeers,
  type Step,
} from './peers-result.js';
import { type RemoteImage, readImage, uncompressedSize, warmRegistry } from './registry.js';
import { writeJson } from './result.js';
import { formatBytes, formatMs } from './statistics.js';
import { ProcessGroup } from './tools/process-group.js';
import { keepInMemory } from './tools/programs.js';
import type { Tool } from './tools/tool.js';
import { makeTool, TOOLS } from './tools/tools.js';

const { values } = parseArgs({
  options: {
    registry: { type: 'string', default: '127.0.0.1:5000' },
    images: { type: 'string', default: 'debian-slim,many-layers,python-like,node-like,big-layer' },
    tools: { type: 'string', default: TOOLS.join(',') },
    runs: { type: 'string', default: '5' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    'loop-ext4': { type: 'string' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
    quiet: { type: 'string', default: '15' },
    append: { type: 'string' },
  },
});

interface Contestant {
  readonly tool: Tool;
  readonly group: ProcessGroup;
  readonly directory: string;
}

/** What is written after each round; what has been measured and said grows. */
type Growing = Omit<PeersResult, 'figures' | 'images' | 'measurements' | 'failures'> & {
  readonly images: BenchedImage[];
  readonly measurements: Measurement[];
  readonly failures: string[];
};

if (process.getuid?.() !== 0) throw new Error('bench: needs root: it mounts, and drops caches');
// The processes and mounts of the run go when this process ends.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
await main();

async function main(): Promise<void> {
  const earlier = values.append === undefined ? undefined : readPeers(values.append);
  mkdirSync(values.work, { recursive: true });
  const unmount = values['loop-ext4'] === undefined ? () => {} : mountLoopExt4(values.work, values['loop-ext4']);
  const contestants = values.tools.split(',').flatMap(contestantOf);
  const result = await beginResult(contestants, earlier);
  const images = await readImages(result);
  const path = values.append ?? join(values.out, `peers-${result.when.replace(/[:.]/g, '-')}.json`);
  const first = Math.max(-1, ...(earlier?.measurements ?? []).map(({ run }) => run)) + 1;
  for (let run = first; run < first + Number(values.runs); run++) {
    for (const image of images) {
      // Each round begins with another one, so that none is always measured first.
      const turn = run % contestants.length;
      for (const contestant of [...contestants.slice(turn), ...contestants.slice(0, turn)]) {
        await round(contestant, image, run, result);
        save(path, result);
      }
    }
  }
  for (const { group } of contestants) await group.remove();
  unmount();
  process.stdout.write(`${toMarkdown(finished(result))}\n${path}\n`);
}

function contestantOf(name: string): Contestant[] {
  const directory = join(values.work, name);
  const group = new ProcessGroup(name);
  const tool = makeTool(name, group, CHECKOUT, directory);
  if (tool === undefined) {
    process.stderr.write(`${name}: not installed, left out (bench/install-peers.sh)\n`);
    return [];
  }
  group.create();
  return [{ tool, group, directory }];
}

/** One image with one tool from an empty store to an empty store; what fails is noted, and the others go on. */
async function round(contestant: Contestant, image: RemoteImage, run: number, result: Growing): Promise<void> {
  const { tool, directory } = contestant;
  try {
    result.measurements.push(...(await measureRound(contestant, image, run)));
  } catch (error) {
    note(result, `${tool.name}, ${image.name}, run ${run}: ${textOf(error)}`);
  }
  try {
    await tool.stop();
    wipe(directory);
  } catch (error) {
    note(result, `${tool.name}: cleaning up: ${textOf(error)}`);
  }
}

/** In one line. */
function textOf(error: unknown): string {
  return String(error).replace(/\s+/g, ' ').slice(0, 500);
}

function note({ failures }: Growing, text: string): void {
  failures.push(text);
  process.stderr.write(`FAILED ${text}\n`);
}

async function measureRound(
  { tool, group, directory }: Contestant,
  image: RemoteImage,
  run: number,
): Promise<Measurement[]> {
  const reference = `${values.registry}/${image.name}`;
  await tool.stop();
  wipe(directory);
  mkdirSync(directory, { recursive: true });
  await tool.start();
  dropCaches();
  await warmRegistry(image);
  keepInMemory(tool.paths());
  await tool.touch();
  const load = await waitUntilQuiet(Number(values.quiet) * 1e3);
  const found: Measurement[] = [];
  const measure = async (step: Step, work: () => Promise<void>) => {
    const written = bytesWrittenTo(values.work);
    let ms = 0;
    const usage = await group.watch(async () => {
      ms = await timed(work);
    });
    const syncMs = await timeSync();
    const writtenBytes = bytesWrittenTo(values.work) - written;
    found.push({ tool: tool.name, image: image.name, run, step, ms, syncMs, ...usage, writtenBytes, load });
    const cpu = formatMs(usage.userMs + usage.systemMs);
    process.stderr.write(
      `${tool.name.padEnd(14)} ${image.name.padEnd(20)} ${step.padEnd(9)} ${formatMs(ms)} (+ sync ${formatMs(syncMs)}), processor ${cpu}, memory ${formatBytes(usage.peakBytes)}, written ${formatBytes(writtenBytes)}\n`,
    );
  };
  await measure('cold', () => tool.pullAndProvision(reference, 'one'));
  await mustBeRootfs(tool, 'one');
  await measure('again', () => tool.pull(reference));
  await measure('provision', () => tool.provision(reference, 'two'));
  await mustBeRootfs(tool, 'two');
  await measure('destroy', () => tool.destroy('two'));
  await tool.destroy('one');
  await measure('remove', () => tool.remove(reference));
  return found;
}

/** A time for something that did not happen is no time. */
async function mustBeRootfs(tool: Tool, id: string): Promise<void> {
  if (!(await tool.entries(id)).includes('etc')) throw new Error(`${tool.name}: ${id} is no root filesystem`);
}

/** Those that the registry has; the result knows them then. */
async function readImages(result: Growing): Promise<RemoteImage[]> {
  const found: RemoteImage[] = [];
  for (const wanted of values.images.split(',')) {
    try {
      const image = await readImage(values.registry, wanted);
      const { name, size, layers } = image;
      if (!result.images.some((known) => known.name === name && known.size === size))
        result.images.push({ name, size, uncompressed: await uncompressedSize(image), layers: layers.length });
      found.push(image);
    } catch (error) {
      note(result, `${wanted}: ${textOf(error)}`);
    }
  }
  return found;
}

async function beginResult(contestants: readonly Contestant[], earlier: PeersResult | undefined): Promise<Growing> {
  const versions: Record<string, string> = { ...earlier?.versions };
  for (const { tool } of contestants) versions[tool.name] = await tool.version();
  return {
    bench: 'peers',
    when: earlier?.when ?? new Date().toISOString(),
    machine: describeMachine(values.work),
    versions,
    images: [...(earlier?.images ?? [])],
    tools: [...new Set([...(earlier?.tools ?? []), ...contestants.map(({ tool }) => tool.name)])],
    measurements: [...(earlier?.measurements ?? [])],
    failures: [...(earlier?.failures ?? [])],
  };
}

function finished(result: Growing): PeersResult {
  return { ...result, figures: figuresOf(result) };
}

function save(path: string, result: Growing): void {
  const complete = finished(result);
  writeJson(path, complete);
  writeFileSync(path.replace(/(\.json)?$/, '.md'), toMarkdown(complete));
}
