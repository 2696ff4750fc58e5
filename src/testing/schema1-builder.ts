/**
 * ▸ Images as Docker before 1.10 pushed them: image manifest version 2 schema 1, signed in the form of Docker's libtrust
 * with a key made for the occasion, or not signed.
 *
 *     const image = buildSchema1Image({ layers: [{ tar: tar([file('etc/motd', 'hello\n')]) }, 'empty'] });
 *     registry.addImage({ name: 'library/demo', tag: 'latest', ...image });
 */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { type Digest, digestOf, hexOf } from '../spec/digest.js';
import { DOCKER_MANIFEST_V1, DOCKER_MANIFEST_V1_SIGNED } from '../spec/media-types.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../spec/platform.js';
import { type BuiltLayer, buildLayer, type LayerSource } from './image-builder.js';

export interface Schema1Options {
  /** Base first; `empty` is a step that changed no file. */
  readonly layers: readonly (LayerSource | 'empty')[];
  /** What the document calls itself. */
  readonly name?: string;
  readonly tag?: string;
  /** The `config` object of the topmost step: Cmd, Env, …. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** `os/arch[/variant]`; default: this machine's. */
  readonly platform?: string;
  /** Default true. */
  readonly signed?: boolean;
  /** What is signed instead of the document. */
  readonly edit?: (document: Schema1Document) => object;
}

/** The document as it goes over the wire, before it is signed. Topmost first. */
export interface Schema1Document {
  readonly schemaVersion: 1;
  readonly name: string;
  readonly tag: string;
  readonly architecture: string;
  readonly fsLayers: readonly { readonly blobSum: string }[];
  readonly history: readonly { readonly v1Compatibility: string }[];
}

/** Has what a fake registry's `addImage` takes. */
export interface BuiltSchema1Image {
  /** As served. */
  readonly manifest: Uint8Array;
  readonly mediaType: string;
  /** What was signed: what `digest` is of. */
  readonly payload: Uint8Array;
  readonly digest: Digest;
  readonly platform: string;
  /** The v1 image of the topmost step. */
  readonly v1: string;
  /** Base first, without the empty ones. */
  readonly layers: readonly BuiltLayer[];
  /** Each once. */
  readonly blobs: readonly Uint8Array[];
}

/** What Docker's empty steps point to: 1024 zero bytes, as Go's gzip wrote them. */
export const EMPTY_LAYER = Buffer.from('H4sIAAAJbogA/2IYBaNgFIxYAAgAAP//Lq+17wAEAAA=', 'base64');

export function buildSchema1Image(options: Schema1Options): BuiltSchema1Image {
  const platform = parsePlatform(options.platform ?? formatPlatform(hostPlatform()));
  const steps = options.layers.map((layer) => (layer === 'empty' ? undefined : buildLayer(layer, true)));
  const history = historyOf(steps, { ...platform, config: options.config ?? { Cmd: ['/bin/sh'] } });
  const document: Schema1Document = {
    schemaVersion: 1,
    name: options.name ?? 'library/demo',
    tag: options.tag ?? 'latest',
    architecture: platform.architecture,
    fsLayers: steps.map((layer) => ({ blobSum: layer?.digest ?? digestOf(EMPTY_LAYER) })).reverse(),
    history: history.map((v1) => ({ v1Compatibility: v1 })).reverse(),
  };
  const payload = Buffer.from(JSON.stringify(options.edit?.(document) ?? document, undefined, INDENT));
  const signed = options.signed ?? true;
  const layers = steps.flatMap((layer) => layer ?? []);
  const blobs = new Map(layers.map(({ digest, blob }) => [digest, blob]));
  if (layers.length < steps.length) blobs.set(digestOf(EMPTY_LAYER), EMPTY_LAYER);
  return {
    manifest: signed ? signSchema1(payload) : payload,
    mediaType: signed ? DOCKER_MANIFEST_V1_SIGNED : DOCKER_MANIFEST_V1,
    payload,
    digest: digestOf(payload),
    platform: formatPlatform(platform),
    v1: history.at(-1) ?? '',
    layers,
    blobs: [...blobs.values()],
  };
}

/** libtrust's `PrettySignature`: the document, its last brace replaced by a list of signatures and a brace. */
export function signSchema1(payload: Uint8Array, keys: readonly KeyObject[] = [newKey()]): Buffer {
  const text = Buffer.from(payload).toString();
  const length = text.slice(0, text.lastIndexOf('}')).trimEnd().length;
  const start = Buffer.from(text.slice(0, length));
  const tail = Buffer.from(text.slice(length));
  const header = { formatLength: start.length, formatTail: tail.toString('base64url'), time: '2015-11-20T10:00:00Z' };
  const signatures = keys.map((key) => signatureOf(payload, header, key));
  const list = JSON.stringify(signatures, undefined, INDENT).replaceAll('\n', `\n${INDENT}`);
  return Buffer.concat([start, Buffer.from(`,\n${INDENT}"signatures": ${list}\n}`)]);
}

const INDENT = '   ';
const EPOCH = '1970-01-01T00:00:00Z';

/** One v1 image for each step, base first: each names the one below, and the last one has the image's config. */
function historyOf(steps: readonly (BuiltLayer | undefined)[], top: object): string[] {
  let parent: string | undefined;
  return steps.map((layer, i) => {
    const step = {
      created: EPOCH,
      container_config: { Cmd: ['/bin/sh', '-c', `step ${i + 1}`] },
      ...(parent === undefined ? {} : { parent }),
      ...(layer === undefined ? { throwaway: true } : {}),
      ...(i === steps.length - 1 ? { docker_version: '1.9.1', ...top } : {}),
    };
    const id = hexOf(digestOf(Buffer.from(JSON.stringify([layer?.digest, step]))));
    parent = id;
    return JSON.stringify({ id, ...step });
  });
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** RFC 7515 with ES256. */
function signatureOf(payload: Uint8Array, header: object, key: KeyObject) {
  const { crv, kty, x, y } = key.export({ format: 'jwk' });
  const guarded = Buffer.from(JSON.stringify(header)).toString('base64url');
  const input = Buffer.from(`${guarded}.${Buffer.from(payload).toString('base64url')}`);
  return {
    header: { jwk: { crv, kid: keyIdOf(key), kty, x, y }, alg: 'ES256' },
    signature: sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' }).toString('base64url'),
    protected: guarded,
  };
}

/** libtrust's: the first 240 bits of the public key's SHA-256, in base 32, four letters at a time. */
function keyIdOf(key: KeyObject): string {
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const bits = [...createHash('sha256').update(spki).digest().subarray(0, 30)]
    .map((byte) => byte.toString(2).padStart(8, '0'))
    .join('');
  const letters = (bits.match(/.{5}/g) ?? []).map((five) => BASE_32[Number.parseInt(five, 2)] ?? '').join('');
  return (letters.match(/.{4}/g) ?? []).join(':');
}

const BASE_32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
