import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type AppcManifest,
  dependencyRequest,
  matchesRequest,
  parseAppcManifest,
} from '../../src/spec/appc-manifest.js';
import { appcRequestOf, formatAppcRequest, parseAppcName } from '../../src/spec/appc-name.js';
import { parseImageId } from '../../src/spec/appc-types.js';
import { parsePlatform } from '../../src/spec/platform.js';

const ID = parseImageId(`sha512-${'ab'.repeat(64)}`);
const OTHER_ID = parseImageId(`sha512-${'cd'.repeat(64)}`);
const BASE = { acKind: 'ImageManifest', acVersion: '0.8.11', name: 'example.com/app' };

function parse(more: object): AppcManifest {
  return parseAppcManifest(Buffer.from(JSON.stringify({ ...BASE, ...more })), 'read');
}

function refuse(more: object, message: RegExp): void {
  assert.throws(() => parse(more), { code: 'LARDER_MANIFEST_INVALID', message });
}

/** The example of aci.md. */
const EXAMPLE = {
  acKind: 'ImageManifest',
  acVersion: '0.8.11',
  name: 'example.com/reduce-worker',
  labels: [
    { name: 'version', value: '1.0.0' },
    { name: 'arch', value: 'amd64' },
    { name: 'os', value: 'linux' },
  ],
  app: {
    exec: ['/usr/bin/reduce-worker', '--quiet'],
    user: '100',
    group: '300',
    supplementaryGIDs: [400, 500],
    eventHandlers: [
      { exec: ['/usr/bin/data-downloader'], name: 'pre-start' },
      { exec: ['/usr/bin/deregister-worker', '--verbose'], name: 'post-stop' },
    ],
    workingDirectory: '/opt/work',
    environment: [{ name: 'REDUCE_WORKER_DEBUG', value: 'true' }],
    isolators: [{ name: 'resource/cpu', value: { request: '250m', limit: '500m' } }],
    mountPoints: [{ name: 'work', path: '/var/lib/work', readOnly: false }],
    ports: [
      { name: 'health', port: 4000, protocol: 'tcp', socketActivated: true },
      { name: 'ftp-data', port: 20000, count: 1000, protocol: 'tcp' },
    ],
  },
  dependencies: [
    {
      imageName: 'example.com/reduce-worker-base',
      imageID: ID,
      labels: [
        { name: 'os', value: 'linux' },
        { name: 'env', value: 'canary' },
      ],
      size: 22017258,
    },
  ],
  pathWhitelist: ['/etc/ca/example.com/crt', '/etc/systemd/system/'],
  annotations: [{ name: 'authors', value: 'Carly Container <carly@example.com>' }],
};

describe('an Appc manifest', () => {
  it('is read as the specification writes it', () => {
    const { app, dependencies, pathWhitelist, ...rest } = parse(EXAMPLE);
    assert.deepEqual(rest, {
      acKind: 'ImageManifest',
      acVersion: '0.8.11',
      name: 'example.com/reduce-worker',
      labels: EXAMPLE.labels,
      annotations: EXAMPLE.annotations,
    });
    assert.deepEqual(dependencies, EXAMPLE.dependencies);
    assert.deepEqual(pathWhitelist, ['/etc/ca/example.com/crt', '/etc/systemd/system']);
    assert.deepEqual(app, {
      ...EXAMPLE.app,
      ports: [
        { name: 'health', port: 4000, count: 1, protocol: 'tcp', socketActivated: true },
        { name: 'ftp-data', port: 20000, count: 1000, protocol: 'tcp', socketActivated: false },
      ],
      userAnnotations: {},
      userLabels: {},
    });
  });

  it('needs no more than kind, version and name', () => {
    assert.deepEqual(parse({}), { ...BASE, labels: [], dependencies: [], pathWhitelist: [], annotations: [] });
  });

  it('takes null for what is left out, also for exec, and no user and group', () => {
    const nothing = { labels: null, dependencies: null, pathWhitelist: null, annotations: null };
    assert.deepEqual(parse({ ...nothing, app: null }), parse({}));
    const app = { exec: null, user: null, environment: null, workingDirectory: '' };
    assert.deepEqual(parse({ app }).app, {
      exec: [],
      supplementaryGIDs: [],
      eventHandlers: [],
      environment: [],
      mountPoints: [],
      ports: [],
      isolators: [],
      userAnnotations: {},
      userLabels: {},
    });
  });

  it('ignores fields that the specification does not know', () => {
    assert.deepEqual(parse({ future: { deep: [1] }, labels: [{ name: 'a', value: 'b', note: 1 }] }).labels, [
      { name: 'a', value: 'b' },
    ]);
  });

  it('keeps a label called like a property of every object apart from it', () => {
    const { labels } = parse({ labels: [{ name: 'constructor', value: 'x' }] });
    assert.deepEqual(labels, [{ name: 'constructor', value: 'x' }]);
  });

  const label = (name: string, value = ''): object => ({ name, value });
  const refused: readonly (readonly [string, object, RegExp])[] = [
    ['another kind', { acKind: 'PodManifest' }, /acKind/],
    ['no version', { acVersion: null }, /acVersion/],
    ['a version that is none', { acVersion: '0.8' }, /semantic version/],
    ['a name that is none', { name: '../etc' }, /name: not an AC identifier/],
    ['a name that is too long', { name: 'a/'.repeat(200).concat('b') }, /not an AC identifier/],
    ['labels that are an object', { labels: {} }, /labels/],
    ['a label name with capitals', { labels: [label('Version')] }, /labels\.0\.name/],
    ['a label without a value', { labels: [{ name: 'a' }] }, /labels\.0/],
    ['a label called name', { labels: [label('name')] }, /may not be called "name"/],
    ['a label twice', { labels: [label('a'), label('a')] }, /two labels/],
    ['an unknown os', { labels: [label('os', 'plan9')] }, /no pair/],
    ['an os without that architecture', { labels: [label('os', 'linux'), label('arch', 'x86_64')] }, /no pair/],
    ['too many labels', { labels: Array.from({ length: 5000 }, (_, i) => label(`l${i}`)) }, /more than 4096 labels/],
    ['an annotation twice', { annotations: [label('a'), label('a')] }, /two annotations/],
    ['an exec that is a text', { app: { exec: '/bin/sh' } }, /app\.exec/],
    ['an exec with a NUL', { app: { exec: ['/bin/\0sh'] } }, /NUL/],
    ['a relative working directory', { app: { workingDirectory: 'opt' } }, /absolute/],
    ['a variable with a bad name', { app: { environment: [label('A=B')] } }, /name of a variable/],
    ['a variable twice', { app: { environment: [label('A'), label('A')] } }, /two variables/],
    ['an unknown event', { app: { eventHandlers: [{ name: 'on-fire', exec: [] }] } }, /eventHandlers/],
    ['a port of 0', { app: { ports: [{ name: 'a', protocol: 'tcp', port: 0 }] } }, /port/],
    [
      'ports above 65535',
      { app: { ports: [{ name: 'a', protocol: 'tcp', port: 65000, count: 1000 }] } },
      /above 65535/,
    ],
    ['a mount point without a path', { app: { mountPoints: [{ name: 'a', path: '' }] } }, /path is empty/],
    ['a mount point with a dotted name', { app: { mountPoints: [{ name: 'a.b', path: '/' }] } }, /AC name/],
    ['an isolator with a bad name', { app: { isolators: [{ name: 'A', value: 1 }] } }, /isolators/],
    ['a group that is no id', { app: { supplementaryGIDs: [-1] } }, /supplementaryGIDs/],
    ['user labels that are a list', { app: { userLabels: ['a'] } }, /list/],
    ['a dependency without a name', { dependencies: [{}] }, /dependencies\.0/],
    ['a dependency with a bad id', { dependencies: [{ imageName: 'a', imageID: 'sha512-1' }] }, /imageID/],
    ['a dependency with a negative size', { dependencies: [{ imageName: 'a', size: -1 }] }, /size/],
    [
      'too many dependencies',
      { dependencies: Array.from({ length: 300 }, () => ({ imageName: 'a' })) },
      /more than 256/,
    ],
    ['a relative path in the whitelist', { pathWhitelist: ['etc'] }, /not an absolute path/],
    ['a path that climbs', { pathWhitelist: ['/a/../../etc'] }, /not an absolute path/],
    ['a path with a NUL', { pathWhitelist: ['/a\0'] }, /not an absolute path/],
  ];
  for (const [what, more, message] of refused) it(`with ${what} is refused`, () => refuse(more, message));

  it('with a key twice is refused, also far inside', () => {
    const text = JSON.stringify({ ...BASE, app: { exec: ['a'] } }).replace('"exec"', '"exec":["b"],"exec"');
    assert.throws(() => parseAppcManifest(Buffer.from(text)), { code: 'LARDER_MANIFEST_INVALID', message: /twice/ });
  });

  it('that is not an object, not JSON or too large is refused', () => {
    for (const bytes of ['[]', '1', '{', '', '\ufeff{}', ' '.repeat(16 * 1024 * 1024 + 1)])
      assert.throws(() => parseAppcManifest(Buffer.from(bytes)), { code: 'LARDER_MANIFEST_INVALID' });
  });

  it('has its whitelist cleaned', () => {
    assert.deepEqual(parse({ pathWhitelist: ['//a//./b/', '/'] }).pathWhitelist, ['/a/b', '/']);
  });
});

describe('an image', () => {
  const manifest = parse({
    labels: [
      { name: 'version', value: '1.2' },
      { name: 'os', value: 'linux' },
      { name: 'arch', value: 'amd64' },
      { name: 'channel', value: 'beta' },
    ],
  });
  const why = (text: string, { of = manifest, platform = 'linux/amd64' } = {}): string | undefined =>
    matchesRequest(of, ID, appcRequestOf(parseAppcName(text), parsePlatform(platform)));

  it('is the one that was asked for when name and labels agree', () => {
    for (const text of ['appc:example.com/app:1.2', 'appc:example.com/app:1.2,channel=beta,os=linux,arch=amd64'])
      assert.equal(why(text), undefined);
  });

  it('may have any version where none, or the latest, was asked for', () => {
    assert.equal(why('appc:example.com/app'), undefined);
    assert.equal(why('appc:example.com/app:latest'), undefined);
  });

  it('is not when the name, a label or the id differ', () => {
    assert.match(why('appc:example.com/other') ?? '', /its name is example.com\/app instead of/);
    assert.match(why('appc:example.com/app:1.3') ?? '', /its label version is "1.2" instead of "1.3"/);
    assert.match(why('appc:example.com/app,channel=stable') ?? '', /channel is "beta"/);
    assert.match(why('appc:example.com/app,env=x') ?? '', /it has no label env/);
    assert.match(why(`appc:example.com/app@${OTHER_ID}`) ?? '', /its id is sha512-ab/);
    assert.equal(why(`appc:example.com/app@${ID}`), undefined);
  });

  it('is not when it is for another machine, though nobody named the machine', () => {
    assert.match(
      why('appc:example.com/app', { platform: 'linux/arm64' }) ?? '',
      /arch is "amd64" instead of "aarch64"/,
    );
  });

  it('that names no machine runs anywhere, unless one was asked for by name', () => {
    assert.equal(why('appc:example.com/app', { of: parse({}) }), undefined);
    assert.match(why('appc:example.com/app,os=linux', { of: parse({}) }) ?? '', /no label os/);
  });

  it('is not mistaken for having a label that all objects have', () => {
    assert.match(why('appc:example.com/app,constructor=x') ?? '', /no label constructor/);
  });
});

describe('a dependency', () => {
  const parent = appcRequestOf(
    parseAppcName('appc:example.com/app:1.2,channel=beta,arch=i386'),
    parsePlatform('linux/amd64'),
  );
  const first = (dependency: object) => {
    const [found] = parse({ dependencies: [dependency] }).dependencies;
    assert.ok(found);
    return dependencyRequest(found, parent);
  };

  it("is asked for by its own version and its parent's platform", () => {
    const request = first({ imageName: 'example.com/base' });
    assert.deepEqual(request.labels, { version: 'latest', os: 'linux', arch: 'i386' });
    assert.deepEqual([...request.defaulted].sort(), ['arch', 'os', 'version']);
    assert.equal(request.askedBy, parent.name);
  });

  it('keeps the labels and the id that it names', () => {
    const labels = [
      { name: 'version', value: '3' },
      { name: 'os', value: 'freebsd' },
      { name: 'arch', value: 'amd64' },
    ];
    const request = first({ imageName: 'example.com/base', labels, imageID: ID });
    assert.equal(formatAppcRequest(request), `appc:example.com/base:3@${ID}`);
    assert.deepEqual(request.defaulted, new Set());
    assert.deepEqual(request.labels, { version: '3', os: 'freebsd', arch: 'amd64' });
  });

  it('whose labels would make another URL is refused', () => {
    assert.throws(() => first({ imageName: 'a', labels: [{ name: 'version', value: '..' }] }), {
      code: 'LARDER_MANIFEST_INVALID',
      message: /dependency a cannot be asked for/,
    });
  });
});
