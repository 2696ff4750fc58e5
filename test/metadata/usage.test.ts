import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Layout } from '../../src/layout.js';
import { Holds } from '../../src/metadata/holds.js';
import { Layers } from '../../src/metadata/layers.js';
import { MetadataManager } from '../../src/metadata/metadata-manager.js';
import { type ImageRecord, imageIdOf } from '../../src/metadata/records.js';
import { Usage } from '../../src/metadata/usage.js';
import { digestOf, parseDiffId } from '../../src/spec/digest.js';
import { type Place, place } from './fixture.js';

let here: Place;
before(async () => {
  here = await place();
});
after(() => here.dispose());

function record(type: ImageRecord['type'], reference: string, layers: readonly string[]): ImageRecord {
  const digest = digestOf(Buffer.from(reference));
  return {
    ...{ type, reference, platform: 'linux/amd64', digest, manifest: digest, config: digest },
    layers: layers.map((name) => ({
      diffId: parseDiffId(digestOf(Buffer.from(name))),
      digest: digestOf(Buffer.from(`blob ${name}`)),
      size: 1,
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
    })),
    createdAtMs: 1,
    lastUsedAtMs: 2,
  };
}

test('a list of images says in short what their records say', async () => {
  const database = await here.open();
  const layout = new Layout(here.layout.root);
  const sizes = { a: 10, b: 200 };
  await new Layers(database).put(
    ...Object.entries(sizes).map(([name, tarSize]) => ({
      diffId: parseDiffId(digestOf(Buffer.from(name))),
      ...{ tarSize, entries: 0, indexSha256: '', indexSize: 5, extraSha256: undefined, extraSize: 7, derivedFormat: 1 },
    })),
  );
  const docker = MetadataManager.create({ database, type: 'docker' });
  const appc = MetadataManager.create({ database, type: 'appc' });
  await appc.put(record('appc', 'example.com/a', ['b', 'a']));
  await docker.put(record('docker', 'example.com/z:latest', ['a', 'b']));
  await docker.put(record('docker', 'example.com/b:latest', ['a', 'gone']));
  await docker.put(record('docker', 'example.com/empty:latest', []));
  await docker.setPinned('example.com/z:latest', undefined, true);
  const bytes = [10, 0, 210, 210];
  const expected = [...docker.list(), ...appc.list()].map((image, i) => ({
    type: image.type,
    reference: image.reference,
    platform: image.platform,
    imageId: imageIdOf(image),
    pinned: image.pinned === true,
    createdAtMs: image.createdAtMs,
    layers: image.layers.length,
    bytes: bytes[i],
  }));
  assert.deepEqual(new Usage(database, new Holds(database, layout)).lines(), expected);
});
