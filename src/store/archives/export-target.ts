/** Where an image is exported to: `docker-archive:FILE[:NAME[:TAG]]` or `oci-archive:FILE[:NAME]`; `-` is standard output. */
import { LarderError } from '../../errors.js';
import { type ImageInside, isArchiveName, parseImageName } from '../../spec/image-name.js';

export interface ExportTarget {
  readonly transport: 'docker-archive' | 'oci-archive';
  /** Absolute; undefined for a stream. */
  readonly path: string | undefined;
  readonly inside?: ImageInside;
}

const STREAM = /^(docker-archive|oci-archive):(?:-|\/dev\/stdout)(?=:|$)/;

const ARCHIVE = /^(?:docker-archive|oci-archive):/;

/** A relative path is one from `directory`. Rejects with LARDER_REFERENCE_INVALID. */
export function parseExportTarget(text: string, directory: string): ExportTarget {
  if (!ARCHIVE.test(text)) throw notAnArchive(text);
  const stream = STREAM.exec(text);
  // Read as a file's name: what stands behind it has one grammar.
  const name = parseImageName(text.replace(STREAM, '$1:/-'), directory);
  if (!isArchiveName(name) || name.transport === 'oci') throw notAnArchive(text);
  if (name.inside?.kind === 'index') {
    throw new LarderError('LARDER_REFERENCE_INVALID', `export to ${text.slice(0, 300)}: a number is no name`, {
      hint: 'leave it out: the archive gets one image',
    });
  }
  const { transport, path, inside } = name;
  return { transport, path: stream === null ? path : undefined, ...(inside === undefined ? {} : { inside }) };
}

function notAnArchive(text: string): LarderError {
  return new LarderError('LARDER_REFERENCE_INVALID', `export to ${text.slice(0, 300)}: this is no archive's name`, {
    hint: 'write docker-archive:FILE[:NAME:TAG] or oci-archive:FILE[:NAME]; a FILE of - is standard output',
  });
}
