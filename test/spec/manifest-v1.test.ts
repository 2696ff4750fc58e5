import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it, test } from 'node:test';
import { isLarderError } from '../../src/errors.js';
import { digestOf } from '../../src/spec/digest.js';
import { parseDockerV1 } from '../../src/spec/docker-v1.js';
import { MAX_LAYERS } from '../../src/spec/manifest.js';
import { isSchema1, parseSchema1 } from '../../src/spec/manifest-v1.js';
import { DOCKER_MANIFEST, DOCKER_MANIFEST_V1, DOCKER_MANIFEST_V1_SIGNED } from '../../src/spec/media-types.js';
import {
  buildSchema1Image,
  EMPTY_LAYER,
  type Schema1Document,
  signSchema1,
} from '../../src/testing/schema1-builder.js';
import { file, tar } from '../../src/testing/tar-builder.js';

const IDS = ['a', 'b', 'c'].map((letter) => letter.repeat(64));
const [BASE = '', MIDDLE = '', TOP = ''] = IDS;
const DIGEST = `sha256:${'1'.repeat(64)}`;
const OTHER = `sha256:${'2'.repeat(64)}`;

interface Step {
  readonly blobSum?: unknown;
  readonly v1?: Readonly<Record<string, unknown>>;
  readonly text?: unknown;
}

/** Topmost first, as in the document. */
function documentOf(steps: readonly Step[], more: object = {}): object {
  return {
    schemaVersion: 1,
    name: 'team/app',
    tag: '1',
    architecture: 'amd64',
    fsLayers: steps.map(({ blobSum = DIGEST }) => ({ blobSum })),
    history: steps.map(({ v1, text }) => ({ v1Compatibility: text ?? JSON.stringify(v1) })),
    ...more,
  };
}

const STEPS: readonly Step[] = [
  { blobSum: OTHER, v1: { id: TOP, parent: MIDDLE, author: 'me', os: 'linux', config: { Cmd: ['sh'] } } },
  { v1: { id: MIDDLE, parent: BASE, throwaway: true, comment: 'nothing' } },
  { v1: { id: BASE, created: '2015-01-01T00:00:00Z', container_config: { Cmd: ['/bin/sh', '-c', 'add'] } } },
];
const DOCUMENT = documentOf(STEPS);

const bytes = (document: unknown): Buffer => Buffer.from(JSON.stringify(document));
const parse = (document: unknown) => parseSchema1(bytes(document));
const refuses = (document: unknown, message: RegExp): void =>
  assert.throws(() => parse(document), { code: 'LARDER_MANIFEST_INVALID', message });

/** The document with one of its steps changed. */
function changed(index: number, change: Step): object {
  return documentOf(STEPS.map((step, i) => (i === index ? { ...step, ...change } : step)));
}

describe('a schema 1 manifest', () => {
  test('DockerSpecTest.ParseV2ImageManifest: its layers, history and v1 images are read, base first', () => {
    const signed = signSchema1(bytes(DOCUMENT));
    const { kind, mediaType, name, tag, architecture, steps } = parseSchema1(signed);
    assert.deepEqual(
      { kind, mediaType, name, tag, architecture },
      { kind: 'schema1', mediaType: DOCKER_MANIFEST_V1_SIGNED, name: 'team/app', tag: '1', architecture: 'amd64' },
    );
    assert.deepEqual(
      steps.map(({ layer, history }) => ({ layer, history })),
      [
        { layer: DIGEST, history: { created: '2015-01-01T00:00:00Z', created_by: '/bin/sh -c add' } },
        { layer: undefined, history: { comment: 'nothing', empty_layer: true } },
        { layer: OTHER, history: { author: 'me' } },
      ],
    );
    assert.deepEqual(
      steps.map(({ v1 }) => parseDockerV1(v1).id),
      [BASE, MIDDLE, TOP],
    );
    assert.deepEqual(parseDockerV1(steps[2]?.v1 ?? assert.fail()), {
      id: TOP,
      parent: MIDDLE,
      author: 'me',
      os: 'linux',
      config: { Cmd: ['sh'] },
    });
  });

  test('DockerSpecTest.ParseInvalidV2ImageManifest: what is missing or of another type is refused', () => {
    for (const key of ['name', 'tag', 'architecture', 'fsLayers', 'history', 'schemaVersion']) {
      refuses({ ...DOCUMENT, [key]: undefined }, new RegExp(key));
      refuses({ ...DOCUMENT, [key]: { a: 1 } }, new RegExp(key));
    }
  });

  test('DockerSpecTest.ValidateV2ImageManifestFsLayersNonEmpty: no layers are refused', () => {
    refuses({ ...DOCUMENT, fsLayers: [] }, /no layers/);
    refuses({ ...DOCUMENT, fsLayers: [], history: [] }, /no layers/);
  });

  test('DockerSpecTest.ValidateV2ImageManifestSignaturesNonEmpty: an empty list of signatures is refused', () => {
    refuses({ ...DOCUMENT, signatures: [] }, /signatures: an empty list/);
    refuses({ ...DOCUMENT, history: undefined, signatures: [] }, /signatures/);
  });

  it('need not be signed', () => {
    const { mediaType, payload } = parse(DOCUMENT);
    assert.equal(mediaType, DOCKER_MANIFEST_V1);
    assert.deepEqual(Buffer.from(payload), bytes(DOCUMENT));
  });

  it('may have a v1 object in its history, which ended Mesos’s agent', () => {
    const history = STEPS.map(({ v1 }) => ({ v1Compatibility: JSON.stringify(v1), v1 }));
    assert.equal(parse({ ...DOCUMENT, history }).steps.length, 3);
  });

  it('may call itself what it likes: nothing goes by its name', () => {
    assert.equal(parse({ ...DOCUMENT, name: '', tag: '../..' }).tag, '../..');
  });

  it('has the lower one of two neighbours with the same id', () => {
    const again = documentOf([{ ...STEPS[0], blobSum: DIGEST }, ...STEPS]);
    assert.deepEqual(parse(again).steps, parse(DOCUMENT).steps);
  });

  const lies: Readonly<Record<string, readonly [document: object, message: RegExp]>> = {
    'more layers than history': [documentOf(STEPS, { fsLayers: [{ blobSum: DIGEST }] }), /1 layers but 3 steps/],
    'a digest that is a path': [changed(0, { blobSum: 'sha256:../../etc/passwd' }), /blobSum: not a sha256/],
    'a digest in upper case': [changed(0, { blobSum: `sha256:${'A'.repeat(64)}` }), /blobSum: not a sha256/],
    'an id that is a path': [changed(2, { v1: { id: '../x' } }), /history\[2\]: id/],
    'a short id': [changed(2, { v1: { id: 'abc' } }), /the id "abc"/],
    'no id': [changed(2, { v1: {} }), /the id ""/],
    'a parent that is not the next': [changed(0, { v1: { id: TOP, parent: BASE } }), /the parent of c+ is a+, not b+/],
    'a base with a parent': [changed(2, { v1: { id: BASE, parent: TOP } }), /the parent of a+ is c+, not nothing/],
    'a middle without a parent': [changed(1, { v1: { id: MIDDLE } }), /the parent of b+ is nothing/],
    'a loop': [
      documentOf([{ v1: { id: BASE, parent: TOP } }, ...STEPS]),
      /the step a+ is in its history more than once/,
    ],
    'a v1 image that is no JSON': [changed(1, { text: '{' }), /history\[1\]: not valid JSON/],
    'a v1 image that is a list': [changed(1, { text: '[]' }), /history\[1\]: a list/],
    'a v1 image that is no text': [changed(1, { text: { id: MIDDLE } }), /v1Compatibility/],
    'a v1 image with a key twice': [changed(1, { text: `{"id":"${MIDDLE}","id":"${TOP}"}` }), /key "id" twice/],
    'a v1 image with __proto__': [changed(1, { text: '{"__proto__":{}}' }), /__proto__/],
    'a deep v1 image': [changed(1, { text: `${'['.repeat(99)}${']'.repeat(99)}` }), /deeper than/],
    'throwaway that is no boolean': [changed(1, { v1: { id: MIDDLE, parent: BASE, throwaway: 1 } }), /throwaway/],
    'nothing but empty steps': [documentOf([{ v1: { id: BASE, throwaway: true } }]), /no layers/],
    'too many steps': [documentOf(Array.from({ length: 2 * MAX_LAYERS + 1 }, () => ({ v1: {} }))), /more than/],
    'the members of schema 2': [{ ...DOCUMENT, config: {}, layers: [] }, /more than one kind of document/],
    'the members of an index': [{ ...DOCUMENT, manifests: [] }, /more than one kind of document/],
    'the type of schema 2': [{ ...DOCUMENT, mediaType: DOCKER_MANIFEST }, /it says that it is/],
    'schemaVersion 2': [{ ...DOCUMENT, schemaVersion: 2 }, /schemaVersion is not 1/],
  };
  for (const [name, [document, message]] of Object.entries(lies)) {
    it(`with ${name} is refused, signed or not`, () => {
      refuses(document, message);
      assert.throws(() => parseSchema1(signSchema1(bytes(document))), { code: 'LARDER_MANIFEST_INVALID', message });
    });
  }
});

describe('the payload of a signed schema 1 manifest', () => {
  const PAYLOAD = Buffer.from(JSON.stringify(DOCUMENT, undefined, 3));
  const SIGNED = signSchema1(PAYLOAD);
  const signedWith = (...guarded: readonly unknown[]): object => ({
    ...DOCUMENT,
    signatures: guarded.map((header) => ({
      protected: Buffer.from(JSON.stringify(header)).toString('base64url'),
    })),
  });
  const TAIL = Buffer.from('}').toString('base64url');

  it('is the document as it was signed, byte for byte', () => {
    assert.deepEqual(Buffer.from(parseSchema1(SIGNED).payload), PAYLOAD);
    const compact = bytes(DOCUMENT);
    assert.deepEqual(Buffer.from(parseSchema1(signSchema1(compact)).payload), compact);
  });

  it('does not depend on who signed it, and how often', () => {
    const key = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    assert.deepEqual(Buffer.from(parseSchema1(signSchema1(PAYLOAD, [key(), key()])).payload), PAYLOAD);
  });

  it('alone is read: what was added to the document outside it changes nothing', () => {
    const text = SIGNED.toString();
    const end = text.lastIndexOf('}');
    const added = `${text.slice(0, end)}, "extra": {"x": 1}}`;
    const parsed = parseSchema1(Buffer.from(added));
    assert.deepEqual(Buffer.from(parsed.payload), PAYLOAD);
    assert.deepEqual(parsed.steps, parseSchema1(PAYLOAD).steps);
  });

  it('alone is read, also where the document goes on in another way than it was signed', () => {
    const [one, other] = [DIGEST, OTHER].map((blobSum) => documentOf([{ blobSum, v1: { id: BASE } }]));
    const [signed, served] = [one, other].map((document) => JSON.stringify({ ...document, fsLayers: undefined }));
    const layersOf = (document: object | undefined): string =>
      JSON.stringify({ ...document }).match(/"fsLayers.*?]/)?.[0] ?? '';
    assert.equal(signed, served);
    const start = signed?.slice(0, -1) ?? '';
    const header = { formatLength: start.length, formatTail: Buffer.from(`,${layersOf(one)}}`).toString('base64url') };
    const guarded = Buffer.from(JSON.stringify(header)).toString('base64url');
    const text = `${start},${layersOf(other)},"signatures":[{"protected":"${guarded}"}]}`;
    assert.equal(parseSchema1(Buffer.from(text)).steps[0]?.layer, DIGEST);
  });

  it('with a hybrid’s members outside it is refused', () => {
    const text = SIGNED.toString();
    const hybrid = `${text.slice(0, text.lastIndexOf('}'))}, "layers": []}`;
    assert.throws(() => parseSchema1(Buffer.from(hybrid)), { message: /more than one kind/ });
  });

  const lies: Readonly<Record<string, readonly [document: object, message: RegExp]>> = {
    'longer than the document': [signedWith({ formatLength: 1e9, formatTail: TAIL }), /of a longer document/],
    'of no length': [signedWith({ formatLength: 0, formatTail: TAIL }), /formatLength/],
    'of half a byte': [signedWith({ formatLength: 1.5, formatTail: TAIL }), /formatLength/],
    'without a tail': [signedWith({ formatLength: 10 }), /formatTail/],
    'with a tail that is not base64url': [
      signedWith({ formatLength: 10, formatTail: '}' }),
      /formatTail: not base64url/,
    ],
    'with an endless tail': [signedWith({ formatLength: 10, formatTail: 'A'.repeat(2000) }), /formatTail: longer/],
    'that is no JSON': [signedWith({ formatLength: 10, formatTail: TAIL }), /not valid JSON/],
    'that differs from signature to signature': [
      signedWith({ formatLength: 10, formatTail: TAIL }, { formatLength: 11, formatTail: TAIL }),
      /of different documents/,
    ],
    'without a protected header': [{ ...DOCUMENT, signatures: [{ signature: 'x' }] }, /signatures\[0\]: protected/],
    'with a protected header that is no JSON': [{ ...DOCUMENT, signatures: [{ protected: 'y' }] }, /signatures\[0\]/],
    'with signatures that are no list': [{ ...DOCUMENT, signatures: {} }, /signatures/],
    'with a hundred signatures': [signedWith(...Array.from({ length: 100 }, () => ({}))), /more than 16/],
  };
  for (const [name, [document, message]] of Object.entries(lies)) {
    it(`${name} is refused`, () => refuses(document, message));
  }

  it('is refused or the same, whatever byte of the served document was changed, unless its digest shows it', () => {
    const expected = digestOf(PAYLOAD);
    let same = 0;
    for (let i = 0; i < SIGNED.length; i++) {
      const damaged = Buffer.from(SIGNED);
      damaged.writeUInt8(damaged.readUInt8(i) ^ 1, i);
      try {
        const parsed = parseSchema1(damaged);
        if (digestOf(parsed.payload) !== expected) continue;
        assert.deepEqual(parsed.steps, parseSchema1(PAYLOAD).steps);
        same++;
      } catch (error) {
        if (!isLarderError(error, 'LARDER_MANIFEST_INVALID')) throw error;
      }
    }
    assert.ok(same > 100, 'a signature is not read');
  });
});

describe('what is served for a name', () => {
  const cases: readonly (readonly [type: string | undefined, document: object, isOld: boolean])[] = [
    [DOCKER_MANIFEST_V1, DOCUMENT, true],
    [DOCKER_MANIFEST_V1_SIGNED, DOCUMENT, true],
    [`${DOCKER_MANIFEST_V1_SIGNED}; charset=utf-8`, DOCUMENT, true],
    ['application/json', DOCUMENT, true],
    ['application/json; charset=utf-8', DOCUMENT, true],
    [undefined, DOCUMENT, true],
    ['application/json', { schemaVersion: 2 }, false],
    ['application/json', ['not', 'an', 'object'], false],
    [DOCKER_MANIFEST, DOCUMENT, false],
    ['text/html', DOCUMENT, false],
  ];
  for (const [type, document, isOld] of cases) {
    it(`as ${type} is ${isOld ? '' : 'not '}schema 1: ${JSON.stringify(document).slice(0, 40)}`, () => {
      assert.equal(isSchema1(bytes(document), type), isOld);
    });
  }

  it('and is no JSON is no schema 1', () => assert.equal(isSchema1(Buffer.from('{'), 'application/json'), false));
});

describe('buildSchema1Image', () => {
  it('makes what is read again, with the layers in order', () => {
    const layers = ['a', 'b'].map((name) => ({ tar: tar([file(name, name)]) }));
    const image = buildSchema1Image({ layers: [layers[0] ?? assert.fail(), 'empty', layers[1] ?? assert.fail()] });
    const parsed = parseSchema1(image.manifest);
    assert.deepEqual(
      parsed.steps.map(({ layer }) => layer),
      [image.layers[0]?.digest, undefined, image.layers[1]?.digest],
    );
    assert.equal(digestOf(parsed.payload), image.digest);
    assert.equal(Buffer.from(parsed.steps[2]?.v1 ?? '').toString(), image.v1);
  });

  it('has Docker’s empty layer', () => {
    const known = 'sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4';
    assert.equal(digestOf(EMPTY_LAYER), known);
  });

  it('signs what was edited', () => {
    const edit = (document: Schema1Document): object => ({ ...document, tag: 'other' });
    assert.equal(parseSchema1(buildSchema1Image({ layers: ['empty', { tar: tar([]) }], edit }).manifest).tag, 'other');
  });
});
