import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LarderEvent } from '../../src/events.js';
import { type FakeRegistry, startRegistry } from '../../src/testing/fake-registry.js';
import { buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { type Child, startNode, whileRuns } from '../helpers/child.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

const CHILD = fileURLToPath(new URL('../helpers/network-child.js', import.meta.url));
const IMAGES = ['one', 'two'].map((name) => ({
  name: `team/${name}`,
  ...buildImage({ layers: [{ tar: sampleLayer(name) }] }),
}));

let directory: string;
beforeEach(() => {
  directory = makeDirectory();
});
afterEach(() => removeDirectory(directory));

/** A process that pulls into the one store, and what it says of its network. */
function pull(registry: FakeRegistry, image: string, conf = 'none'): Child & { readonly said: () => LarderEvent[] } {
  const child = startNode(CHILD, [join(directory, 'root'), conf, `${registry.host}/team/${image}`]);
  let text = '';
  child.process.stdout?.on('data', (more: string) => {
    text += more;
  });
  const lines = () => text.split('\n').slice(0, -1);
  return { ...child, said: () => lines().map((line) => JSON.parse(line) as LarderEvent) };
}

test('a pause that a registry asked one process for holds back another one', async () => {
  await using registry = await startRegistry({ images: IMAGES });
  registry.setFault(({ url }) =>
    url.includes('/manifests/') ? { kind: 'status', status: 429, headers: { 'retry-after': '50' } } : undefined,
  );
  const one = pull(registry, 'one');
  let two: ReturnType<typeof pull> | undefined;
  try {
    await whileRuns(one, () => one.said().some(({ type }) => type === 'rate-limit'));
    const asked = registry.requests.length;
    two = pull(registry, 'two');
    const other = two;
    await whileRuns(other, () => other.said().length > 0);
    const [event] = other.said();
    assert.equal(event?.type === 'rate-limit' && event.host, registry.host);
    assert.ok(event?.type === 'rate-limit' && event.afterMs <= 50_000);
    assert.equal(registry.requests.length, asked);
  } finally {
    one.kill();
    two?.kill();
    await Promise.all([one.ended, two?.ended]);
  }
});

test('a mirror that failed for one process is not asked by another one', async () => {
  await using registry = await startRegistry({ images: IMAGES });
  await using mirror = await startRegistry({ fault: () => ({ kind: 'status', status: 502 }) });
  const conf = join(directory, 'registries.conf');
  writeFileSync(
    conf,
    `[[registry]]\nlocation = "${registry.host}"\n[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n`,
  );
  const one = pull(registry, 'one', conf);
  assert.equal((await one.ended).status, 0, (await one.ended).stderr);
  assert.ok(one.said().some((event) => event.type === 'mirror' && event.insteadOf === mirror.host));
  const asked = mirror.requests.length;
  assert.ok(asked > 0);
  const two = pull(registry, 'two', conf);
  assert.equal((await two.ended).status, 0, (await two.ended).stderr);
  assert.deepEqual(two.said(), []);
  assert.equal(mirror.requests.length, asked);
});
