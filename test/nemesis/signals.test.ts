/** The command, told to end while it is at work: it ends soon, leaves nothing, and the next one goes on where it was. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { mountsUnder } from '../../src/linux/mountinfo.js';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { whileRuns } from '../helpers/child.js';
import { CommandHome } from '../helpers/command.js';
import { needsRoot } from '../helpers/temporary.js';

const BIG = 2_000_000;
/** Nobody who has told a service to end waits longer, on a machine that does much else. */
const SOON_MS = 20_000;

describe('a command that is told to end while it provisions', { skip: needsRoot }, () => {
  let source: ImageSource;
  before(async () => {
    source = await ImageSource.start();
    source.publish('image', [sampleLayer('below'), sampleLayer('above', BIG)]);
  });
  after(() => source[Symbol.asyncDispose]());

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`by ${signal}: ends with 130, leaves no mount, claim or lock, and the next one goes on`, async () => {
      const home = new CommandHome();
      try {
        source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: BIG / 2 } : undefined));
        const asked = source.requests('layer').length;
        const child = home.start(['provision', '--id', 'c', source.reference('image')]);
        await whileRuns(child, () => source.requests('layer').length >= asked + 2);
        const toldMs = performance.now();
        child.kill(signal);
        const { status, stderr } = await child.ended;
        const tookMs = performance.now() - toldMs;
        assert.equal(status, 130, stderr);
        assert.ok(tookMs < SOON_MS, `${tookMs} ms`);
        assert.deepEqual(mountsUnder(home.root), []);
        for (const part of ['handles', 'pulls', 'staging', 'containers', 'gc'])
          assert.deepEqual(namesIn(home, part), [], part);
        // What has come of the layers is kept for the next one; nothing else is.
        const { findings } = JSON.parse(await home.ok('check', '--deep', '--json')) as {
          findings: { subject: string }[];
        };
        assert.deepEqual(
          findings.map(({ subject }) => subject).filter((subject) => !subject.startsWith('download of ')),
          [],
        );
        source.setFault();
        assert.match(await home.ok('provision', '--id', 'c', source.reference('image')), /rootfs/);
        await home.ok('destroy', 'c');
      } finally {
        home.dispose();
      }
    });
  }
});

function namesIn({ root }: CommandHome, part: string): string[] {
  const path = join(root, part);
  return existsSync(path) ? readdirSync(path).filter((name) => !name.startsWith('.')) : [];
}
