/** Why something is in the store: who holds it, or that nothing does. Looks only; takes no lock. */
import { basename } from 'node:path';
import { LarderError } from '../../errors.js';
import type { Holder, Holders, Subject } from '../../metadata/holders.js';

export interface WhyReport extends Subject {
  readonly onDisk: boolean;
  readonly holders: readonly Holder[];
  /** `held`; `garbage`: nothing holds it, the next prune takes it; `absent`: it is not in the store. */
  readonly verdict: 'held' | 'garbage' | 'absent';
}

const HEX = /^[0-9a-f]{4,128}$/;

/**
 * What a digest, DiffID, image ID, key or path in the store names, or what begins with those hex digits. Rejects with
 * LARDER_REQUEST_INVALID when it is none of these.
 */
export async function whyOf(
  text: string,
  holders: Holders,
  onDisk: (subject: Subject) => Promise<boolean>,
): Promise<readonly WhyReport[]> {
  const hex = hexIn(text);
  const found = holders.find(hex);
  const subjects = found.length > 0 ? found : unrecorded(hex);
  const reports = await Promise.all(
    subjects.map(async (subject): Promise<WhyReport> => {
      const [there, holding] = [await onDisk(subject), holders.of(subject)];
      const verdict = holding.length > 0 ? 'held' : there ? 'garbage' : 'absent';
      return { ...subject, onDisk: there, holders: holding, verdict };
    }),
  );
  return found.length > 0 ? reports : reports.filter((report) => report.onDisk);
}

/** The digits of a digest; of a path, those of the last directory or file that is named by a digest. */
function hexIn(text: string): string {
  const named = text.split('/').map((part) => basename(part, '.erofs').replace(/^sha(?:256|512)[:-]/, ''));
  const hex = text.includes('/') ? named.findLast((part) => /^(?:[0-9a-f]{64}){1,2}$/.test(part)) : named[0];
  if (hex !== undefined && HEX.test(hex)) return hex;
  throw new LarderError('LARDER_REQUEST_INVALID', `why ${text}: neither a digest nor a path of one in the store`, {
    hint: 'give a DiffID, a digest, an image ID, a key, four or more hex digits of one, or its path',
  });
}

/** No record names it, but it may lie on disk all the same. */
function unrecorded(hex: string): Subject[] {
  if (hex.length === 128) return [{ what: 'blob', name: `sha512:${hex}` }];
  if (hex.length !== 64) return [];
  return [
    { what: 'layer', name: `sha256:${hex}` },
    { what: 'blob', name: `sha256:${hex}` },
    { what: 'merged', name: hex },
    { what: 'chain', name: hex },
  ];
}
