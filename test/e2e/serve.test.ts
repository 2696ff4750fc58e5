/** Programs of others pull through `larder serve`; `scripts/serve-clients.sh` does the same with more of them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { hexOf } from '../../src/spec/digest.js';
import { buildImage, buildIndex } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { type Child, whileRuns } from '../helpers/child.js';
import { CommandHome } from '../helpers/command.js';
import { DockerRegistry, freePort } from './docker-registry.js';
import { needs } from './tools.js';

const run = promisify(execFile);
const LAYERS = [sampleLayer('base', 100_000), sampleLayer('top')].map((tar) => ({ tar }));

describe('skopeo pulls through larder serve', { skip: needs('skopeo', 'docker-registry') }, () => {
  const image = buildImage({ layers: LAYERS });
  let store: CommandHome;
  let registry: DockerRegistry;
  let serving: Child;
  let listen: string;

  before(async () => {
    store = new CommandHome();
    registry = await DockerRegistry.start(join(store.directory, 'registry'));
    await registry.push('app:1', buildIndex([image]));
    listen = `127.0.0.1:${await freePort()}`;
    serving = store.start(['serve', '--listen', listen, '--keep-blobs']);
    let said = '';
    serving.process.stderr?.on('data', (text: string) => {
      said += text;
    });
    await whileRuns(serving, () => said.includes(`at ${listen}`));
  });

  after(async () => {
    serving?.kill();
    await serving?.ended;
    await registry?.close();
    store?.dispose();
  });

  async function copy(name: string, to: string): Promise<string> {
    const directory = join(store.directory, to);
    const from = `docker://${listen}/${registry.host.replace(':', '__')}/${name}`;
    await run('skopeo', ['copy', '-q', '--all', '--src-tls-verify=false', from, `oci:${directory}:x`]);
    return directory;
  }

  test('an image index with all of its images, and again when the registry is gone', async () => {
    await copy('app:1', 'first');
    await registry.close();
    const again = await copy('app:1', 'second');
    for (const digest of [image.digest, image.configDigest, ...image.layers.map((layer) => layer.digest)])
      assert.ok(existsSync(join(again, 'blobs', 'sha256', hexOf(digest))), digest);
    await assert.rejects(copy('other:1', 'third'), /503|Service Unavailable/);
  });

  test('it ends by itself when it is told to, and the store is sound', async () => {
    serving.process.kill('SIGTERM');
    assert.equal((await serving.ended).status, 0);
    await store.ok('check', '--deep');
  });
});
