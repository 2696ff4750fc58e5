/** Rows of images and layers that nobody pulled, each with names of its own: for what the database alone is asked. */
import { createHash } from 'node:crypto';
import { DERIVED_FORMAT } from '../src/layout.js';
import type { ImageRecord, LayerRecord } from '../src/metadata/records.js';
import { type DiffId, type Digest, hexOf, parseDiffId, parseDigest } from '../src/spec/digest.js';

export function imageRecord(i: number, layers: number): ImageRecord {
  return {
    type: 'docker',
    reference: `registry.example/image-${i}:latest`,
    platform: 'linux/amd64',
    digest: digestOf(`manifest ${i}`),
    manifest: digestOf(`manifest ${i}`),
    config: digestOf(`config ${i}`),
    layers: Array.from({ length: layers }, (_, j) => ({
      diffId: parseDiffId(digestOf(`layer ${i} ${j}`)),
      digest: digestOf(`blob ${i} ${j}`),
      size: 0,
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    })),
    createdAtMs: 0,
    lastUsedAtMs: 0,
  };
}

export function layerRecord(diffId: DiffId, tarSize = 0): LayerRecord {
  return {
    diffId,
    tarSize,
    entries: 0,
    indexSha256: hexOf(diffId),
    indexSize: 0,
    extraSha256: undefined,
    extraSize: 0,
    derivedFormat: DERIVED_FORMAT,
  };
}

function digestOf(text: string): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(text).digest('hex')}`);
}
