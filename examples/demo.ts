/**
 * The main job from end to end, on this machine alone: an embedded registry serves an image made of the machine's own
 * shell, larder pulls it over HTTP, lists and reads it; as root it is also mounted and runs a command. Then everything is
 * given back, and the store is checked.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Larder, openLarder, type ProvisionInfo } from '../src/index.js';
import { startRegistry } from '../src/testing/fake-registry.js';
import { machineImage } from './machine-image.js';

const startedMs = performance.now();
const isRoot = process.getuid?.() === 0;

const image = await step('make an image of this shell and its libraries', () => machineImage());
const registry = await step('start a registry', () =>
  startRegistry({ images: [{ name: 'demo/shell', tag: 'latest', ...image }] }),
);
const scratch = await mkdtemp(join(tmpdir(), 'larder-demo-'));
const reference = `${registry.host}/demo/shell:latest`;
try {
  await using larder = await openLarder({ root: join(scratch, 'store') });
  await look(larder);
  const backends = isRoot ? [(await larder.info()).backend ?? 'copy'] : (['copy'] as const);
  for (const backend of backends) {
    const info = await step(`provision c1 (${backend})`, () => larder.provision(reference, { id: 'c1', backend }));
    await use(info);
    await step('destroy c1', () => larder.destroy('c1'));
  }
  await giveBack(larder);
} finally {
  await registry.close();
  await rm(scratch, { recursive: true, force: true });
}
say(`\nAll of it took ${Math.round(performance.now() - startedMs)} ms.`);

async function look(larder: Larder): Promise<void> {
  await using pulled = await step(`pull ${reference}`, () => larder.pull(reference));
  say(`    image ${pulled.imageId.slice(0, 19)}…, ${pulled.record.layers.length} layers, verified and durable`);
  await step('pull it again: no request is made', async () => {
    const before = registry.requests.length;
    await using again = await larder.pull(reference);
    if (registry.requests.length !== before) throw new Error(`${again.reference} was asked for again`);
  });
  const release = await step('read /etc/os-release, without mounting anything', () =>
    pulled.fs.readFile('/etc/os-release'),
  );
  say(indent(release.toString()));
  const names = await step('list /etc: the second layer deleted a file of the first', () => pulled.fs.readdir('/etc'));
  say(`    ${names.map((entry) => entry.name).join('  ')}`);
}

async function use({ rootfs, backend, warnings }: ProvisionInfo): Promise<void> {
  say(`    ${rootfs}: ${(await readdir(rootfs)).join('  ')}`);
  for (const warning of warnings) say(`    ${warning}`);
  if (!isRoot) {
    say('    (as root it would be mounted instead of copied, and a command run in it)');
    return;
  }
  const script = 'cat /etc/motd; echo "wrote: $(echo data > /tmp/new && cat /tmp/new)"; uname -s';
  const output = await step('run a command in it', () =>
    execFileSync('chroot', [rootfs, '/bin/sh', '-c', script], {
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    }),
  );
  say(indent(output));
  if (backend === 'erofs') say("    its files are read straight from the layers' tars");
}

async function giveBack(larder: Larder): Promise<void> {
  const report = await step('prune', () => larder.prune());
  say(`    ${report.images.length} image and ${report.layers.length} layers gone, ${report.bytes} bytes free`);
  const findings = await step('check every invariant', async () => {
    const found = [];
    for await (const finding of larder.check({ deep: true })) found.push(`${finding.subject}: ${finding.message}`);
    return found;
  });
  if (findings.length > 0) throw new Error(`the store is not clean: ${findings.join('; ')}`);
  say('    clean');
}

async function step<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  const since = performance.now();
  const result = await work();
  say(`${`${(performance.now() - since).toFixed(0)} ms`.padStart(8)}  ${what}`);
  return result;
}

function indent(text: string): string {
  return text.trimEnd().replace(/^/gm, '    ');
}

function say(line: string): void {
  console.log(line);
}
