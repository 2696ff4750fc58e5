/** How an exported image is called in its archive: as the target says, else as it is called in the store. */
import type { ImageRecord } from '../../metadata/records.js';
import { type ImageName, isArchiveName, parseImageName } from '../../spec/image-name.js';
import { familiarReference, formatReference, type Reference } from '../../spec/reference.js';
import type { ExportTarget } from './export-target.js';

/** `RepoTags`, as Docker writes them. None for an image that is known by its digest alone. */
export function tagsOf(record: ImageRecord, { inside }: ExportTarget): string[] {
  const reference = inside?.kind === 'reference' ? inside.reference : referenceOf(parseImageName(record.reference));
  return reference?.tag === undefined ? [] : [`${familiarReference(repositoryOf(reference))}:${reference.tag}`];
}

/** The tag, and beside it the whole name that containerd and Docker look for. */
export function ociNameOf(
  record: ImageRecord,
  { inside }: ExportTarget,
): { readonly name: string | undefined; readonly fullName: string | undefined } {
  if (inside?.kind === 'name') return { name: inside.name, fullName: undefined };
  const reference = referenceOf(parseImageName(record.reference));
  if (reference?.tag === undefined) return { name: undefined, fullName: undefined };
  return { name: reference.tag, fullName: formatReference({ ...repositoryOf(reference), tag: reference.tag }) };
}

function referenceOf(name: ImageName): Reference | undefined {
  if (!isArchiveName(name)) return name;
  return name.inside?.kind === 'reference' ? name.inside.reference : undefined;
}

function repositoryOf({ domain, path }: Reference): Reference {
  return { domain, path };
}
