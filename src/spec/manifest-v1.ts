/**
 * Docker's image manifest version 2 schema 1 (distribution: docs/spec/manifest-v2-1.md): what registries had before 2016,
 * and what a few still have. It lists layers by the digests of their compressed bytes, and carries for each step of
 * the image's history a Docker v1 image as a text. It names no config, no DiffID and no size.
 */
import * as v from 'valibot';
import { isLarderError, LarderError } from '../errors.js';
import { type Digest, isDigest } from './digest.js';
import { parseV1Layer, type V1Layer } from './docker-v1.js';
import { parseJson } from './json.js';
import { payloadOf } from './jws.js';
import { MAX_LAYERS, MAX_MANIFEST_BYTES } from './manifest.js';
import {
  DOCKER_MANIFEST_V1,
  DOCKER_MANIFEST_V1_SIGNED,
  isGenericType,
  isSchema1Type,
  mediaTypeOf,
} from './media-types.js';
import { assertShape } from './shape.js';

export interface Schema1Manifest {
  readonly kind: 'schema1';
  readonly mediaType: typeof DOCKER_MANIFEST_V1 | typeof DOCKER_MANIFEST_V1_SIGNED;
  /** The document without its signatures, as it was signed: what its digest is of. All that is here was read from it. */
  readonly payload: Uint8Array;
  /** What the document calls itself. Mirrors and copies keep it, so it proves nothing, and nothing goes by it. */
  readonly name: string;
  readonly tag: string;
  /** Empty where it does not say. */
  readonly architecture: string;
  /** Base first, at least one that has a layer. */
  readonly steps: readonly Schema1Step[];
}

/** One step of the image's history. */
export interface Schema1Step extends Pick<V1Layer, 'history'> {
  /** Undefined where the step changed no file: its blob is empty, and no layer of the image. */
  readonly layer: Digest | undefined;
  /** The step as a Docker v1 image, byte for byte. */
  readonly v1: Uint8Array;
}

/** Steps that change no file come on top of the layers. */
const MAX_STEPS = 2 * MAX_LAYERS;

/**
 * Whether what a registry answers for a name is to be read as schema 1: by its media type, or by its `schemaVersion`
 * where the type says nothing, since old registries called everything `application/json`. Never rejects.
 */
export function isSchema1(bytes: Uint8Array, contentType = ''): boolean {
  const type = mediaTypeOf(contentType);
  return isSchema1Type(type) || (isGenericType(type) && schemaVersionOf(bytes) === 1);
}

/**
 * Rejects with LARDER_MANIFEST_INVALID. The signatures are not verified: nobody vouches for the keys, which come with
 * the document, so a good signature says nothing (Docker does the same). They decide which bytes were signed, and
 * nothing outside of those is read.
 */
export function parseSchema1(bytes: Uint8Array, doing = 'manifest'): Schema1Manifest {
  const outer = read(bytes, doing);
  refuseHybrids(outer, doing);
  const { signatures } = assertShape(SIGNED, outer, doing, CODE);
  const payload = signatures === undefined ? bytes : payloadOf(bytes, signatures, doing);
  const value = signatures === undefined ? outer : read(payload, doing);
  refuseHybrids(value, doing);
  const { fsLayers, history, ...document } = assertShape(DOCUMENT, value, doing, CODE);
  if (fsLayers.length !== history.length) {
    throw invalid(doing, `${fsLayers.length} layers but ${history.length} steps of history`);
  }
  const steps = history.map(({ v1Compatibility }, i) => {
    const v1 = Buffer.from(v1Compatibility);
    return { blob: fsLayers[i]?.blobSum, v1, ...parseV1Layer(v1, `${doing}: history[${i}]`, CODE) };
  });
  const chain = chainOf(steps, doing);
  if (chain.every(({ layer }) => layer === undefined)) throw invalid(doing, 'the image has no layers');
  return {
    kind: 'schema1',
    mediaType: signatures === undefined ? DOCKER_MANIFEST_V1 : DOCKER_MANIFEST_V1_SIGNED,
    payload,
    ...{ name: document.name, tag: document.tag, architecture: document.architecture },
    steps: chain,
  };
}

const CODE = 'LARDER_MANIFEST_INVALID';

const SIGNED = v.object({
  signatures: v.optional(
    v.pipe(v.array(v.unknown()), v.minLength(1, 'an empty list'), v.maxLength(16, 'more than 16 signatures')),
  ),
});

const name = v.pipe(v.string(), v.maxLength(1024, 'longer than 1024 characters'));
const listed = <const S extends v.GenericSchema>(item: S) =>
  v.pipe(
    v.array(item),
    v.minLength(1, 'the image has no layers'),
    v.maxLength(MAX_STEPS, `more than ${MAX_STEPS} entries`),
  );

const DOCUMENT = v.object({
  schemaVersion: v.literal(1, 'schemaVersion is not 1'),
  name,
  tag: name,
  architecture: v.pipe(v.string(), v.maxLength(64)),
  fsLayers: listed(
    v.object({ blobSum: v.pipe(v.string(), v.maxLength(200), v.guard(isDigest, 'not a sha256 or sha512 digest')) }),
  ),
  history: listed(v.object({ v1Compatibility: v.string() })),
});

const HEAD = v.looseObject({ mediaType: v.nullish(v.pipe(v.string(), v.maxLength(255))) });

/** Members of a manifest of another kind: whoever reads those would see another image (CVE-2021-41190). */
const FOREIGN = ['manifests', 'config', 'layers'] as const;

function refuseHybrids(value: unknown, doing: string): void {
  const document = assertShape(HEAD, value, doing, CODE);
  const { mediaType } = document;
  if (typeof mediaType === 'string' && !isSchema1Type(mediaType)) {
    throw invalid(doing, `it says that it is ${mediaType}, but was served as schema 1`);
  }
  const foreign = FOREIGN.find((key) => Object.hasOwn(document, key));
  if (foreign === undefined) return;
  throw invalid(doing, `it has the members of more than one kind of document (schema 1, and "${foreign}")`);
}

interface ListedStep extends V1Layer {
  readonly blob: Digest | undefined;
  readonly v1: Uint8Array;
}

const ID = /^[0-9a-f]{64}$/;

/**
 * From the list, topmost first, to the steps, base first. The ids are a chain without a loop; of two neighbours with
 * the same id the lower one counts (moby: distribution/pull_v2.go, `fixManifestLayers`).
 */
function chainOf(listedSteps: readonly ListedStep[], doing: string): Schema1Step[] {
  const chain: Schema1Step[] = [];
  const seen = new Set<string>();
  let below: string | undefined;
  for (const { id = '', parent, blob, v1, throwaway, history } of [...listedSteps].reverse()) {
    if (!ID.test(id)) throw invalid(doing, `a step has the id ${JSON.stringify(id.slice(0, 80))}`);
    if (id === below) continue;
    if (seen.has(id)) throw invalid(doing, `the step ${id} is in its history more than once`);
    if (parent !== below)
      throw invalid(doing, `the parent of ${id} is ${parent ?? 'nothing'}, not ${below ?? 'nothing'}`);
    seen.add(id);
    below = id;
    chain.push({
      layer: throwaway ? undefined : blob,
      v1,
      history: throwaway ? { ...history, empty_layer: true } : history,
    });
  }
  return chain;
}

const VERSION = v.object({ schemaVersion: v.optional(v.unknown()) });

function schemaVersionOf(bytes: Uint8Array): unknown {
  try {
    return assertShape(VERSION, read(bytes, 'manifest'), 'manifest', CODE).schemaVersion;
  } catch (error) {
    // Then it is no schema 1 either, and who reads it as something else says what is wrong.
    if (!isLarderError(error, CODE)) throw error;
    return undefined;
  }
}

function read(bytes: Uint8Array, doing: string): unknown {
  return parseJson(bytes, { doing, maxBytes: MAX_MANIFEST_BYTES, code: CODE });
}

function invalid(doing: string, why: string): LarderError {
  return new LarderError(CODE, `${doing}: ${why}`);
}
