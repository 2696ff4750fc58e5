/**
 * Images in what Docker saved before 1.10: `repositories` names the topmost layer of each tag, and a folder for each layer
 * has its `json`, which names the parent, and its `layer.tar`. Nothing says what these bytes must be: they are hashed
 * first, and the config is the one that Docker makes when it loads such an archive.
 */
import { LarderError } from '../../errors.js';
import { digestOf, parseDiffId } from '../../spec/digest.js';
import { parseRepositories, type SavedTag } from '../../spec/docker-archive.js';
import { configFromDockerV1, MAX_V1_BYTES, parseV1Layer, type V1Layer } from '../../spec/docker-v1.js';
import { MAX_LAYERS, MAX_MANIFEST_BYTES } from '../../spec/manifest.js';
import type { Platform } from '../../spec/platform.js';
import { type ArchiveFiles, invalid, readWhole } from './archive-files.js';
import {
  type ArchiveChoice,
  type ArchiveImage,
  type ListedImage,
  nothingOfThatName,
  severalImages,
  textOfChoice,
} from './archive-image.js';
import {
  canonicalTag,
  type HashArchived,
  imageOfLayers,
  required,
  type SavedLayer,
  savedLayer,
} from './saved-layers.js';

/** Of all layers of an image; larder and Docker make one config of them, which may be 4 MiB long. */
const MAX_CHAIN_BYTES = 4 * MAX_V1_BYTES;

export async function listOldArchive(files: ArchiveFiles): Promise<ListedImage[]> {
  return imagesOf(await savedTags(files));
}

export async function resolveInOldArchive(
  files: ArchiveFiles,
  choice: ArchiveChoice,
  wanted: Platform,
  hash: HashArchived,
): Promise<ArchiveImage> {
  const doing = `read archive ${files.name}`;
  const chain = await chainOf(files, chooseId(await savedTags(files), choice, doing), doing);
  const top = chain.at(-1);
  if (top === undefined) throw new LarderError('LARDER_INTERNAL', `${doing}: no layer`);
  const layers: SavedLayer[] = [];
  for (const { id } of chain) {
    const file = await required(files, `${id}/layer.tar`, doing);
    const { sha256, tarSha256 } = await hash(file);
    const known = async () => ({ sha256, tarSha256 });
    layers.push(await savedLayer(file, parseDiffId(`sha256:${tarSha256}`), undefined, doing, known));
  }
  const diffIds = layers.map((layer) => layer.diffId);
  const history = chain.map(({ layer }) => layer.history);
  const config = configFromDockerV1(top.bytes, diffIds, history, doing);
  const { facts, places } = await imageOfLayers(config, layers, wanted, doing);
  const v1 = { digest: digestOf(top.bytes), bytes: top.bytes };
  return { facts: { ...facts, documents: [...facts.documents, v1], v1: v1.digest }, places };
}

interface ChainLink {
  readonly id: string;
  readonly layer: V1Layer;
  readonly bytes: Uint8Array;
}

async function savedTags(files: ArchiveFiles): Promise<SavedTag[]> {
  const doing = `read archive ${files.name}`;
  const file = await required(files, 'repositories', doing);
  const reading = `${doing}: repositories`;
  return parseRepositories(await readWhole(file, MAX_MANIFEST_BYTES, reading), reading);
}

/** Tags of one id are names of one image. */
function imagesOf(tags: readonly SavedTag[]): (ListedImage & { readonly id: string })[] {
  const names = new Map<string, string[]>();
  for (const { id, name } of tags) {
    const known = names.get(id) ?? [];
    known.push(...canonicalTag(name));
    names.set(id, known);
  }
  return [...names].map(([id, known]) => ({ id, names: known }));
}

function chooseId(tags: readonly SavedTag[], choice: ArchiveChoice, doing: string): string {
  const images = imagesOf(tags);
  const [first] = images;
  if (choice === undefined) {
    if (first !== undefined && images.length === 1) return first.id;
    throw first === undefined ? nothingOfThatName(doing, choice, images) : severalImages(doing, images);
  }
  const text = textOfChoice(choice);
  const found = choice.kind === 'index' ? images[choice.index] : images.findLast(({ names }) => names.includes(text));
  if (found === undefined) throw nothingOfThatName(doing, choice, images);
  return found.id;
}

/** From the topmost layer down to the one without a parent; base first. */
async function chainOf(files: ArchiveFiles, topId: string, doing: string): Promise<ChainLink[]> {
  const chain: ChainLink[] = [];
  const seen = new Set<string>();
  let left = MAX_CHAIN_BYTES;
  for (let id: string | undefined = topId; id !== undefined; ) {
    if (seen.has(id)) throw invalid(doing, `layer ${id} is below itself`);
    if (seen.add(id).size > MAX_LAYERS) throw invalid(doing, `more than ${MAX_LAYERS} layers`);
    const file = await required(files, `${id}/json`, doing);
    left -= file.size;
    if (left < 0) throw invalid(doing, `the documents of its layers have more than ${MAX_CHAIN_BYTES} bytes`);
    const reading = `${doing}: layer ${id}`;
    const bytes = await readWhole(file, MAX_V1_BYTES, reading);
    const layer: V1Layer = parseV1Layer(bytes, reading, 'LARDER_ARCHIVE_INVALID');
    chain.unshift({ id, layer, bytes });
    id = layer.parent;
  }
  return chain;
}
