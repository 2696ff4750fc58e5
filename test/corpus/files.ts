/** Whole archives, layouts and ACIs. */
import { execFileSync } from 'node:child_process';
import { buildAci } from '../../src/testing/aci-builder.js';
import { ociArchive } from '../../src/testing/archive-builder.js';
import { dir, fifo, file, symlink, tar } from '../../src/testing/tar-builder.js';
import type { FileCase } from './case.js';
import { IMAGE, refusedArchives } from './docker-archives.js';
import { MAX_LAYER_BYTES } from './streams.js';

const ARCHIVE = 'LARDER_ARCHIVE_INVALID';
const LAYER = 'LARDER_LAYER_INVALID';
const NAME = 'example.com/file';

const archives = Object.entries(refusedArchives).map(([title, members]): FileCase => {
  const [, id = 'A', what = title] = /^(?:([AM]\d+): )?(.*)$/.exec(title) ?? [];
  // In a directory an image is found by its name, and the old form has names of its own.
  const by = members.some(isOldForm) ? { directory: 'LARDER_IMAGE_NOT_FOUND' as const } : {};
  return {
    id,
    what: `docker save: ${what}`,
    transport: 'docker-archive',
    members: () => members,
    refused: ARCHIVE,
    by,
  };
});

/** Only this form is looked up by the name within it; documents that cannot be read are refused before. */
function isOldForm(member: Uint8Array): boolean {
  const text = Buffer.from(member).toString('latin1');
  return text.startsWith('repositories\0') && !/"latest":"\.*(?:\/|")/.test(text);
}

const blobName = (digest: string) => `blobs/${digest.replace(':', '/')}`;
const layout = ociArchive({ '': IMAGE });
/** The layout without its index, and this one. */
const withIndex = (index: Uint8Array) => [...layout.slice(0, -1), index];
const layerName = blobName(IMAGE.layers[0]?.digest ?? '');
const withoutLayer = layout.filter((member) => !member.subarray(0, 100).toString('latin1').startsWith(layerName));

const layouts = (['oci-archive', 'oci'] as const).flatMap((transport): FileCase[] => [
  {
    id: 'A08',
    what: `${transport}: a blob that is a symlink to a file of the host`,
    transport,
    members: ({ victim }) => [...withoutLayer, symlink(layerName, `${victim}/secret`)],
    refused: ARCHIVE,
  },
  {
    id: 'A09',
    what: `${transport}: an index that is a FIFO`,
    transport,
    members: () => withIndex(fifo('index.json')),
    refused: ARCHIVE,
  },
  {
    id: 'A09',
    what: `${transport}: an index that is a directory`,
    transport,
    members: () => withIndex(dir('index.json')),
    refused: ARCHIVE,
  },
  {
    id: 'A09',
    what: `${transport}: an index of 10 MiB`,
    transport,
    members: () => withIndex(file('index.json', Buffer.alloc(10 << 20, ' '))),
    refused: ARCHIVE,
  },
  {
    id: 'A12',
    what: `${transport}: an image without one of its blobs`,
    transport,
    members: () => withoutLayer,
    refused: 'LARDER_BLOB_NOT_FOUND',
  },
]);

const aci = (id: string, what: string, refused: FileCase['refused'], build: () => Uint8Array): FileCase => ({
  id,
  what: `an ACI ${what}`,
  transport: 'appc',
  members: () => [build()],
  ...(refused === undefined ? {} : { refused }),
});
const built = (options: Partial<Parameters<typeof buildAci>[0]>) => () =>
  buildAci({ name: NAME, labels: { version: '1' }, files: { a: 'a' }, ...options }).bytes;
const bomb = (program: string) => () =>
  execFileSync(program, ['-1', '-c'], {
    input: tar([file('manifest', '{}'), file('rootfs/x', Buffer.alloc(MAX_LAYER_BYTES + (1 << 20)))]),
    maxBuffer: 2 ** 28,
  });

export const fileCases: readonly FileCase[] = [
  ...archives,
  ...layouts,
  aci(
    'A07',
    'that depends on itself',
    'LARDER_DEPENDENCY_CYCLE',
    built({
      dependencies: [{ imageName: NAME, labels: { version: '1' } }],
    }),
  ),
  aci('A13', 'without a manifest', LAYER, built({ archive: () => [dir('rootfs')] })),
  aci('A13', 'whose manifest comes last', undefined, built({ archive: (m) => [dir('rootfs'), file('manifest', m)] })),
  aci(
    'A13',
    'whose rootfs is a symlink',
    LAYER,
    built({ archive: (m) => [file('manifest', m), symlink('rootfs', '/')] }),
  ),
  aci('A13', 'whose rootfs is a file', LAYER, built({ archive: (m) => [file('manifest', m), file('rootfs')] })),
  aci(
    'A14',
    'with files beside its rootfs',
    LAYER,
    built({
      archive: (m) => [file('manifest', m), dir('rootfs'), file('etc/passwd', 'x')],
    }),
  ),
  aci('A16', 'in xz', undefined, built({ compression: 'xz' })),
  aci('A16', 'in bzip2', undefined, built({ compression: 'bzip2' })),
  aci('T70', 'that is a bomb in xz', 'LARDER_LAYER_LIMIT', bomb('xz')),
  aci('T70', 'that is a bomb in bzip2', 'LARDER_LAYER_LIMIT', bomb('bzip2')),
  aci('A17', 'whose whitelist climbs', 'LARDER_MANIFEST_INVALID', built({ pathWhitelist: ['/../../etc/passwd'] })),
  aci('A18', 'that ends early', 'LARDER_LAYER_CORRUPT', () => built({})().subarray(0, -20)),
];
