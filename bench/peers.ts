/**
 * `npm run bench [-- OPTIONS]`: cold pull to a writable root filesystem, a second one, its end, and the image's
 * removal, with larder, containerd (ctr) and podman: on one machine, in one run, in turns, from one registry.
 *
 *     --registry HOST:PORT   where the images are, plain HTTP (127.0.0.1:5000)
 *     --images A,B,…         repository[:tag] (debian-slim, node-like, python-like, big-layer)
 *     --tools A,B,…          larder, larder-library, ctr, podman (those that are installed)
 *     --runs N               (5)
 *     --work DIR             stores go here and are deleted; on the disk to measure (/var/tmp/larder-bench)
 *     --out DIR              JSON and Markdown (bench/out)
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../test/checkout.js';
import { describeMachine, dropCaches, timed, timeSync, waitUntilQuiet, wipe } from './machine.js';
import { type Measurement, type PeersResult, type Step, toMarkdown } from './peers-report.js';
import { type RemoteImage, readImage, warmRegistry } from './registry.js';
import { formatMs } from './statistics.js';
import { Containerd } from './tools/containerd.js';
import { Larder } from './tools/larder.js';
import { LarderLibrary } from './tools/larder-library.js';
import { Podman } from './tools/podman.js';
import { hasProgram, type Tool } from './tools/tool.js';

const { values } = parseArgs({
  options: {
    registry: { type: 'string', default: '127.0.0.1:5000' },
    images: { type: 'string', default: 'debian-slim,node-like,python-like,big-layer' },
    tools: { type: 'string', default: 'larder,larder-library,ctr,podman' },
    runs: { type: 'string', default: '5' },
    work: { type: 'string', default: '/var/tmp/larder-bench' },
    out: { type: 'string', default: join(CHECKOUT, 'bench', 'out') },
  },
});

if (process.getuid?.() !== 0) throw new Error('bench: needs root: it mounts, and drops caches');
await main();

async function main(): Promise<void> {
  mkdirSync(values.work, { recursive: true });
  const images = await Promise.all(values.images.split(',').map((name) => readImage(values.registry, name)));
  const tools = values.tools.split(',').flatMap((name) => makeTool(name));
  const measurements: Measurement[] = [];
  const runs = Number(values.runs);
  for (let run = 0; run < runs; run++) {
    for (const image of images) {
      // Each round begins with another one, so that none is always measured first.
      for (const tool of [...tools.slice(run % tools.length), ...tools.slice(0, run % tools.length)]) {
        measurements.push(...(await round(tool, image, run)));
      }
    }
  }
  report({
    when: new Date().toISOString(),
    machine: describeMachine(values.work),
    versions: Object.fromEntries(tools.map((tool) => [tool.name, tool.version()])),
    images: images.map(({ name, size, layers }) => ({ name, size, layers: layers.length })),
    tools: tools.map(({ name }) => name),
    runs,
    measurements,
  });
}

/** One image with one tool from an empty store to an empty store. */
async function round(tool: Tool, image: RemoteImage, run: number): Promise<Measurement[]> {
  const directory = join(values.work, tool.name);
  const reference = `${values.registry}/${image.name}`;
  await tool.stop();
  wipe(directory);
  mkdirSync(directory, { recursive: true });
  await tool.start();
  dropCaches();
  await warmRegistry(image);
  await tool.touch();
  const load = await waitUntilQuiet();
  const found: Measurement[] = [];
  const measure = async (step: Step, work: () => void | Promise<void>) => {
    const ms = await timed(work);
    const sync = await timeSync();
    found.push({ tool: tool.name, image: image.name, run, step, ms, syncMs: sync, load });
    process.stderr.write(
      `${tool.name.padEnd(14)} ${image.name.padEnd(22)} ${step.padEnd(10)} ${formatMs(ms)} (+ sync ${formatMs(sync)})\n`,
    );
  };
  try {
    await measure('cold', async () => mustBeRootfs(await tool.pullAndProvision(reference, 'one')));
    await measure('provision', async () => mustBeRootfs(await tool.provision(reference, 'two')));
    await measure('destroy', () => tool.destroy('two'));
    await tool.destroy('one');
    await measure('remove', () => tool.remove(reference));
  } finally {
    await tool.stop();
    wipe(directory);
  }
  return found;
}

function makeTool(name: string): Tool[] {
  const directory = join(values.work, name);
  if (name === 'larder') return [new Larder(CHECKOUT, directory)];
  if (name === 'larder-library') return [new LarderLibrary(directory)];
  if (name === 'ctr' && hasProgram('containerd')) return [new Containerd(directory)];
  if (name === 'podman' && hasProgram('podman')) return [new Podman(directory)];
  process.stderr.write(`${name}: not installed, left out\n`);
  return [];
}

/** A time for something that did not happen is no time. */
function mustBeRootfs(path: string): void {
  if (!readdirSync(path).includes('etc')) throw new Error(`${path}: no root filesystem`);
}

function report(result: PeersResult): void {
  mkdirSync(values.out, { recursive: true });
  const base = join(values.out, `peers-${result.when.replace(/[:.]/g, '-')}`);
  writeFileSync(`${base}.json`, `${JSON.stringify(result, null, 1)}\n`);
  const markdown = toMarkdown(result);
  writeFileSync(`${base}.md`, markdown);
  process.stdout.write(`${markdown}\n${base}.json\n`);
}
