/**
 * The document that an Appc image's record calls its config: which images it is made of, base first. It says what the
 * layers cannot: their names and labels, and how much of each is shown.
 */
import { LarderError } from '../../errors.js';
import { type DiffId, type Digest, digestOf, parseDiffId, parseDigest } from '../../spec/digest.js';
import { parseJson } from '../../spec/json.js';
import { formatWhitelist, type LayerView, parseLayerView, rootfsViewOf } from '../../spec/stack.js';
import type { StackedAci } from './appc-graph.js';

const SCHEMA = 'larder appc image 1';
const MAX_BYTES = 16 * 2 ** 20;

export interface AppcMember {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `sha512-…` */
  readonly id: string;
  readonly manifest: Digest;
  readonly diffId: DiffId;
  readonly view: LayerView;
}

export interface AppcDocuments {
  readonly members: readonly AppcMember[];
  /** The document itself. */
  readonly document: Uint8Array;
  /** The whitelists that its views name. */
  readonly whitelists: readonly Uint8Array[];
}

export function appcDocumentsOf(stack: readonly StackedAci[]): AppcDocuments {
  const whitelists: Uint8Array[] = [];
  const members = stack.map(({ aci, only }): AppcMember => {
    const whitelist = only === undefined ? undefined : formatWhitelist(only);
    if (whitelist !== undefined) whitelists.push(whitelist);
    return {
      name: aci.manifest.name,
      labels: Object.fromEntries(aci.manifest.labels.map(({ name, value }) => [name, value])),
      id: aci.id,
      manifest: aci.manifestDigest,
      diffId: aci.diffId,
      view: rootfsViewOf(whitelist === undefined ? undefined : digestOf(whitelist)),
    };
  });
  return { members, document: Buffer.from(JSON.stringify({ schema: SCHEMA, images: members })), whitelists };
}

/** Rejects with LARDER_MANIFEST_INVALID: it is ours, but disks lie and stores are copied. */
export function parseAppcDocument(bytes: Uint8Array): readonly AppcMember[] {
  const doing = 'read Appc image';
  const value = parseJson(bytes, { doing, maxBytes: MAX_BYTES, code: 'LARDER_MANIFEST_INVALID' });
  if (!isRecord(value) || value['schema'] !== SCHEMA || !Array.isArray(value['images'])) throw invalid(doing);
  return value['images'].map((image): AppcMember => {
    if (!isRecord(image) || !isRecord(image['labels'])) throw invalid(doing);
    const labels = Object.entries(image['labels']).map(([name, label]) => [name, textOf(label, doing)]);
    return {
      name: textOf(image['name'], doing),
      labels: Object.fromEntries(labels),
      id: textOf(image['id'], doing),
      manifest: parseDigest(textOf(image['manifest'], doing)),
      diffId: parseDiffId(textOf(image['diffId'], doing)),
      view: parseLayerView(textOf(image['view'], doing)),
    };
  });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown, doing: string): string {
  if (typeof value === 'string') return value;
  throw invalid(doing);
}

function invalid(doing: string): LarderError {
  return new LarderError('LARDER_MANIFEST_INVALID', `${doing}: the list of its images is not as larder wrote it`);
}
