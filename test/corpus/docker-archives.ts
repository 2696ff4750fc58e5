/** What archives in the form of `docker save` must not get away with. */
import { hexOf } from '../../src/spec/digest.js';
import { oldDockerArchive } from '../../src/testing/archive-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import { dir, fifo, file, hardlink, symlink } from '../../src/testing/tar-builder.js';
import { plainImage } from '../helpers/archives.js';

export const IMAGE = plainImage('one');
export const CONFIG = `${hexOf(IMAGE.configDigest)}.json`;
export const LAYER = IMAGE.layers[0]?.blob ?? Buffer.alloc(0);

export function manifest(change: Readonly<Record<string, unknown>> = {}): Buffer {
  return file(
    'manifest.json',
    JSON.stringify([{ Config: CONFIG, RepoTags: null, Layers: ['l/layer.tar'], ...change }]),
  );
}

export const config = file(CONFIG, IMAGE.config);
export const layer = file('l/layer.tar', LAYER);

/** Members of archives as `docker save` writes them; each is LARDER_ARCHIVE_INVALID. */
export const refusedArchives: Readonly<Record<string, readonly Buffer[]>> = {
  'A01: layers outside the archive': [config, layer, manifest({ Layers: ['../../etc/passwd'] })],
  'A01: an absolute layer': [config, manifest({ Layers: ['/etc/passwd'] })],
  'A01: a config outside the archive': [layer, manifest({ Config: '../../../etc/passwd' })],
  'A02: a layer that is a symlink to a file of the host': [
    config,
    dir('l'),
    symlink('l/layer.tar', '/etc/shadow'),
    manifest(),
  ],
  'A02: a layer that climbs out by a symlink': [config, symlink('l/layer.tar', '../../../../etc/shadow'), manifest()],
  'A02: a layer that is a hardlink to nothing': [config, hardlink('l/layer.tar', 'etc/shadow'), manifest()],
  'A02: a config that is a symlink to a file of the host': [symlink(CONFIG, '/etc/passwd'), layer, manifest()],
  'A02: links that lead to each other': [config, symlink('l/layer.tar', 'b'), symlink('l/b', 'layer.tar'), manifest()],
  'a layer that is a directory': [config, dir('l/layer.tar'), manifest()],
  'a layer that is a FIFO': [config, fifo('l/layer.tar'), manifest()],
  'a member that climbs out': [config, layer, manifest(), file('../x', 'x')],
  'a layer that is not there': [config, manifest()],
  'more layers than the config names': [config, layer, manifest({ Layers: ['l/layer.tar', 'l/layer.tar'] })],
  'a manifest.json that is a FIFO': [config, layer, fifo('manifest.json')],
  'a manifest.json that is no list': [config, layer, file('manifest.json', '{}')],
  'a manifest.json that is no JSON': [config, layer, file('manifest.json', '[')],
  'M05: a manifest.json of ten megabytes': [config, layer, file('manifest.json', Buffer.alloc(10 << 20, ' '))],
  'M06: a manifest.json that is nested deeply': [config, layer, file('manifest.json', '['.repeat(100_000))],
  'a manifest.json of a thousand and one images': [
    config,
    layer,
    file('manifest.json', JSON.stringify(Array.from({ length: 1001 }, () => ({ Config: CONFIG, Layers: [] })))),
  ],
  'an image of 501 layers': [config, layer, manifest({ Layers: Array.from({ length: 501 }, () => 'l/layer.tar') })],
  'M03: a config of five megabytes': [file(CONFIG, Buffer.alloc(5 << 20, ' ')), layer, manifest()],
  'A05: a repositories whose id climbs out': oldDockerArchive({ a: { latest: '../../etc' } }, []),
  'A05: a repositories whose id is a dot': oldDockerArchive({ a: { latest: '.' } }, []),
  'A05: a parent that climbs out': oldDockerArchive({ a: { latest: '1' } }, [
    { id: '1', parent: '../2', tar: sampleLayer('x') },
  ]),
  'A06: a layer that is its own parent': oldDockerArchive({ a: { latest: '1' } }, [
    { id: '1', parent: '1', tar: sampleLayer('x') },
  ]),
  'A06: layers that are each other’s parents': oldDockerArchive({ a: { latest: '1' } }, [
    { id: '1', parent: '2', tar: sampleLayer('x') },
    { id: '2', parent: '1', tar: sampleLayer('y') },
  ]),
  'a parent that is not there': oldDockerArchive({ a: { latest: '1' } }, [
    { id: '1', parent: '2', tar: sampleLayer('x') },
  ]),
  'a parent that is a number': oldDockerArchive({ a: { latest: '1' } }, [
    { id: '1', tar: sampleLayer('x'), json: { parent: 5 } },
  ]),
  'A19: a cpio archive': [Buffer.from(`070701${'0'.repeat(2000)}`)],
};
