/** Every JSON document that somebody else writes, by its parser and by what is read out of it at once. */
import assert from 'node:assert/strict';
import { parseAppcTrust, parseImageGcConfig } from '../../../src/config-documents.js';
import type { ErrorCode } from '../../../src/errors.js';
import { formatRecord, parseClaimRecord, parseImageRecord } from '../../../src/metadata/record-json.js';
import { readDockerConfigText } from '../../../src/registry/docker-config.js';
import { dependencyRequest, parseAppcManifest } from '../../../src/spec/appc-manifest.js';
import { parseContainerId } from '../../../src/spec/container-id.js';
import { digestOf, parseDiffId } from '../../../src/spec/digest.js';
import { parseRepositories, parseSavedImages } from '../../../src/spec/docker-archive.js';
import { configFromDockerV1, dockerV1From, parseDockerV1 } from '../../../src/spec/docker-v1.js';
import { parseImageConfig, platformOfConfig } from '../../../src/spec/image-config.js';
import { parseJson } from '../../../src/spec/json.js';
import { checkLayoutVersion, parseLayoutIndex } from '../../../src/spec/layout-index.js';
import { parseManifest } from '../../../src/spec/manifest.js';
import { parseSchema1 } from '../../../src/spec/manifest-v1.js';
import { parseMesosImage, parseMesosSecret } from '../../../src/spec/mesos-image.js';
import { commandOf, runtimeConfigOf, runtimeOfAppc } from '../../../src/spec/runtime.js';
import { formatWhitelist, parseWhitelist } from '../../../src/spec/stack.js';
import { buildAci } from '../../../src/testing/aci-builder.js';
import { buildImage, buildIndex } from '../../../src/testing/image-builder.js';
import { buildSchema1Image, signSchema1 } from '../../../src/testing/schema1-builder.js';
import { file, tar } from '../../../src/testing/tar-builder.js';
import { mutateBytes } from '../mutate.js';
import { mutateJson } from '../mutate-json.js';
import type { FuzzTarget } from '../target.js';

interface Document {
  readonly name: string;
  readonly codes: readonly ErrorCode[];
  readonly examples: readonly (Uint8Array | object)[];
  readonly words?: readonly string[];
  readonly read: (bytes: Buffer) => unknown;
}

const HEX = 'b'.repeat(64);
const DIGEST = `sha256:${HEX}`;
const LAYER = tar([file('etc/os-release', 'ID=demo\n')]);
const CONFIG = {
  created: '2024-05-06T07:08:09.123Z',
  config: {
    User: 'www:33',
    Env: ['PATH=/bin', 'A='],
    Entrypoint: ['/bin/sh', '-c'],
    Cmd: ['true'],
    WorkingDir: '/srv',
    Volumes: { '/data': {}, 'rel/../x': {} },
    ExposedPorts: { '80/tcp': {}, '53-60/udp': {} },
    Labels: { 'a.b': 'c' },
    StopSignal: 'SIGQUIT',
    Healthcheck: { Test: ['CMD', 'true'], Interval: 1e9, Retries: 3 },
  },
  history: [{ created: '2024-05-06T07:08:09Z', created_by: 'x', empty_layer: true }],
};
const IMAGE = buildImage({ layers: [{ tar: LAYER }, { tar: LAYER, compression: 'none' }], config: CONFIG });
const DOCKER = buildImage({ layers: [{ tar: LAYER }], docker: true, config: CONFIG });
const SCHEMA1 = buildSchema1Image({ layers: [{ tar: LAYER }, 'empty'], config: CONFIG.config });
const ACI = buildAci({
  name: 'example.com/app',
  labels: { version: '1.0', os: 'linux', arch: 'amd64' },
  dependencies: [{ imageName: 'example.com/base', labels: { version: '2' }, size: 10, imageID: `sha512-${HEX}${HEX}` }],
  pathWhitelist: ['/etc/os-release', '/bin/../x'],
  annotations: { created: '2024-05-06T07:08:09Z' },
  app: {
    exec: ['/bin/sh'],
    user: '0',
    group: 'www',
    supplementaryGIDs: [1, 2],
    eventHandlers: [{ name: 'pre-start', exec: ['/x'] }],
    workingDirectory: '/srv',
    environment: [{ name: 'A', value: 'b' }],
    mountPoints: [{ name: 'data', path: '/data', readOnly: true }],
    ports: [{ name: 'http', protocol: 'tcp', port: 80, count: 2, socketActivated: false }],
    isolators: [{ name: 'resource/memory', value: { limit: '1G' } }],
  },
});
const LAYER_RECORD = { diffId: DIGEST, digest: DIGEST, size: 10, mediaType: 'application/vnd.oci.image.layer.v1.tar' };
const IMAGE_RECORD = {
  type: 'docker',
  reference: 'docker.io/library/alpine:latest',
  platform: 'linux/amd64',
  digest: DIGEST,
  manifest: DIGEST,
  config: DIGEST,
  layers: [LAYER_RECORD],
  createdAtMs: 1,
  lastUsedAtMs: 2,
  extraBlobs: [DIGEST],
  pinned: true,
} as const;
const CLAIM = {
  container: 'c1',
  owner: 'default',
  images: [{ ...IMAGE_RECORD, name: 'alpine', backend: 'erofs', rootfs: '/x', layers: [{ diffId: DIGEST }] }],
  blobs: [DIGEST],
  createdAtMs: 1,
};
/** Without the checksum that another line has: no mutation would get past it. */
const asLine = (bytes: Uint8Array): Uint8Array =>
  Buffer.concat([bytes.map((byte) => (byte === 10 ? 32 : byte)), Buffer.of(10)]);
const COMMANDS = [{ value: 'x' }, { shell: false, value: '/bin/x', arguments: ['a'] }] as const;

const DOCUMENTS: readonly Document[] = [
  {
    name: 'manifest',
    codes: ['LARDER_MANIFEST_INVALID', 'LARDER_MEDIA_TYPE_UNSUPPORTED'],
    examples: [IMAGE.manifest, DOCKER.manifest, buildIndex([IMAGE]).manifest, buildIndex([DOCKER]).manifest],
    words: [
      IMAGE.mediaType,
      DOCKER.mediaType,
      buildIndex([IMAGE]).mediaType,
      'urls',
      'data',
      'variant',
      'artifactType',
    ],
    read: (bytes) => [parseManifest(bytes), parseManifest(bytes, IMAGE.mediaType)],
  },
  {
    name: 'config',
    codes: ['LARDER_CONFIG_INVALID', 'LARDER_DIGEST_INVALID'],
    examples: [
      IMAGE.config,
      { ...CONFIG, rootfs: { type: 'layers', diff_ids: [DIGEST] }, os: 'linux', architecture: 'arm' },
    ],
    words: ['os', 'architecture', 'variant', 'User', '4294967296', '-1', '0x0', '1e3', 'root:0:0', '80/tcp', '1-65536'],
    read: (bytes) => {
      const config = parseImageConfig(bytes);
      const runtime = runtimeConfigOf(config);
      const v1 = dockerV1From(bytes, digestOf(bytes));
      return [platformOfConfig(config), runtime, v1, COMMANDS.map((command) => commandOf(runtime, command))];
    },
  },
  {
    name: 'appc-manifest',
    codes: ['LARDER_MANIFEST_INVALID', 'LARDER_CONFIG_INVALID', 'LARDER_REFERENCE_INVALID'],
    examples: [ACI.manifest],
    words: ['acKind', 'ImageManifest', '0.8.11', 'linux', 'amd64', 'aarch64_be', 'version'],
    read: (bytes) => {
      const manifest = parseAppcManifest(bytes);
      const request = { name: manifest.name, labels: {}, defaulted: new Set<string>() };
      return [
        manifest,
        manifest.dependencies.map((dependency) => dependencyRequest(dependency, request)),
        runtimeOfAppc(manifest),
      ];
    },
  },
  {
    name: 'schema1',
    codes: ['LARDER_MANIFEST_INVALID', 'LARDER_MEDIA_TYPE_UNSUPPORTED'],
    examples: [SCHEMA1.manifest, SCHEMA1.payload, signSchema1(SCHEMA1.payload)],
    words: ['v1Compatibility', 'blobSum', 'signatures', 'throwaway', 'parent'],
    read: (bytes) => parseSchema1(bytes),
  },
  {
    name: 'docker-v1',
    codes: ['LARDER_CONFIG_INVALID'],
    examples: [
      { id: HEX, parent: HEX, os: 'linux', architecture: 'amd64', ...CONFIG, container_config: CONFIG.config },
    ],
    read: (bytes) => {
      const config = configFromDockerV1(bytes, [parseDiffId(DIGEST)], []);
      return [parseDockerV1(bytes), parseImageConfig(Buffer.from(config))];
    },
  },
  {
    name: 'saved-images',
    codes: ['LARDER_ARCHIVE_INVALID'],
    examples: [[{ Config: `${HEX}.json`, RepoTags: ['a:1'], Layers: [`${HEX}/layer.tar`] }]],
    words: ['Layers', 'RepoTags', 'LayerSources'],
    read: (bytes) => parseSavedImages(bytes, 'fuzz'),
  },
  {
    name: 'repositories',
    codes: ['LARDER_ARCHIVE_INVALID'],
    examples: [{ 'library/a': { latest: HEX, 1: HEX }, b: {} }],
    read: (bytes) => parseRepositories(bytes, 'fuzz'),
  },
  {
    name: 'layout-index',
    codes: ['LARDER_ARCHIVE_INVALID', 'LARDER_MANIFEST_INVALID', 'LARDER_MEDIA_TYPE_UNSUPPORTED'],
    examples: [buildIndex([IMAGE]).manifest, { imageLayoutVersion: '1.0.0' }],
    words: ['org.opencontainers.image.ref.name', 'annotations', 'io.containerd.image.name'],
    read: (bytes) => {
      const isIndex = bytes.includes('"manifests"');
      return isIndex ? parseLayoutIndex(bytes, 'fuzz') : checkLayoutVersion(bytes, 'fuzz');
    },
  },
  {
    name: 'record',
    codes: ['LARDER_METADATA_CORRUPT'],
    examples: [IMAGE_RECORD, { ...IMAGE_RECORD, type: 'appc' }],
    read: (bytes) => {
      const record = parseImageRecord(asLine(bytes), 'fuzz');
      const text = formatRecord(record);
      assert.deepEqual(formatRecord(parseImageRecord(text, 'fuzz')), text);
      return record;
    },
  },
  {
    name: 'claim',
    codes: ['LARDER_METADATA_CORRUPT'],
    examples: [CLAIM],
    read: (bytes) => parseClaimRecord(asLine(bytes), parseContainerId('c1'), 'fuzz'),
  },
  {
    name: 'whitelist',
    codes: ['LARDER_MANIFEST_INVALID'],
    examples: [formatWhitelist(['/a', '/b/c'])],
    read: (bytes) => parseWhitelist(bytes),
  },
  {
    name: 'logins',
    codes: ['LARDER_CONFIG_INVALID'],
    examples: [
      {
        auths: { 'https://index.docker.io/v1/': { auth: 'dTpw' }, 'h:5000/a': { identitytoken: 't' }, b: {} },
        credHelpers: { 'c.io': 'pass' },
        credsStore: 'desktop',
      },
      { 'https://old/v1/': { auth: 'dTpw', email: 'x' } },
    ],
    words: ['auth', 'username', 'password', 'registrytoken', '../x', 'dTpw'],
    read: (bytes) => readDockerConfigText(bytes.toString('utf8'), 'fuzz'),
  },
  {
    name: 'settings',
    codes: [
      'LARDER_FLAGS_INVALID',
      'LARDER_REQUEST_INVALID',
      'LARDER_REFERENCE_INVALID',
      'LARDER_CONFIG_INVALID',
      'LARDER_IMAGE_TYPE_UNSUPPORTED',
    ],
    examples: [
      { gc: { image_disk_headroom: 0.1, image_disk_watch_interval: '1mins', excluded_images: ['alpine'] } },
      { trust: { required: true, keys: { 'example.com/': ['/key'] } } },
      { image: { type: 'DOCKER', docker: { name: 'a', credential: { principal: 'u', secret: 'p' } }, cached: true } },
      { image: { type: 'APPC', appc: { name: 'a', labels: { labels: [{ key: 'os', value: 'linux' }] } } } },
      { secret: { type: 'VALUE', value: { data: 'eA==' } } },
      { secret: { type: 'REFERENCE', reference: { name: 'a', key: 'b' } } },
    ],
    read: (bytes) => {
      const { gc, trust, image, secret } = Object(parseJson(bytes, ANY)) as Record<string, unknown>;
      if (gc !== undefined) return parseImageGcConfig(gc, 'fuzz');
      if (trust !== undefined) return parseAppcTrust(trust, 'fuzz');
      const context = { doing: 'fuzz' };
      return image === undefined ? parseMesosSecret(secret, context) : parseMesosImage(image, context);
    },
  },
];

const ANY = { doing: 'fuzz', maxBytes: 1 << 20, code: 'LARDER_REQUEST_INVALID' } as const;

export const documentTargets: readonly FuzzTarget[] = DOCUMENTS.map(({ name, codes, examples, words, read }) => ({
  name: `json-${name}`,
  codes: [...codes, ANY.code],
  short: { runs: 500, meets: ['ok', ...codes.slice(0, 1)] },
  ...(words === undefined ? {} : { words }),
  make: (random) => bytesOf(random.pick(examples)),
  mutate: (input, random) =>
    name === 'schema1' && random.oneIn(2) ? mutateBytes(input, random, words) : mutateJson(input, random, words),
  run: (input) => {
    const answer = read(input);
    assert.deepEqual(Object.keys(Object.prototype), [], 'a prototype was changed');
    return answer;
  },
}));

function bytesOf(example: Uint8Array | object): Buffer {
  return example instanceof Uint8Array ? Buffer.from(example) : Buffer.from(JSON.stringify(example));
}
