import { LarderError } from '../errors.js';
import type { Backend, BackendName } from './backend.js';

export interface BackendReport {
  readonly name: BackendName;
  readonly usable: boolean;
  readonly reason: string;
}

export interface ChosenBackend {
  readonly backend: Backend;
  /** What was found out about each backend that was asked, in order; the last is the chosen one. */
  readonly reports: readonly BackendReport[];
  /** A better one was passed over for a reason that need not be there the next time. */
  readonly mayPass: boolean;
}

/** From the fastest to the one that works everywhere. `bind` is only used when it is asked for: nothing can be written. */
const PREFERENCE: readonly BackendName[] = ['erofs', 'overlay', 'copy'];

/**
 * The first of the preferred backends that works here, or the `wanted` one if it does.
 * Rejects with LARDER_BACKEND_UNAVAILABLE and all reasons, with LARDER_FLAGS_INVALID for a backend that is not there.
 */
export async function chooseBackend(backends: readonly Backend[], wanted?: BackendName): Promise<ChosenBackend> {
  const reports: BackendReport[] = [];
  let mayPass = false;
  for (const name of wanted === undefined ? PREFERENCE : [wanted]) {
    const backend = backends.find((candidate) => candidate.name === name);
    if (backend === undefined) {
      if (wanted === undefined) continue;
      throw new LarderError('LARDER_FLAGS_INVALID', `choose a backend: ${name}: there is no such backend`);
    }
    const probed = await backend.probe();
    const { usable, reason } = probed;
    reports.push({ name, usable, reason });
    if (usable) return { backend, reports, mayPass };
    mayPass ||= probed.mayPass === true;
  }
  const reasons = reports.map(({ name, reason }) => `${name}: ${reason}`).join(' ');
  throw new LarderError('LARDER_BACKEND_UNAVAILABLE', `choose a backend: none works here: ${reasons}`, {
    hint: wanted === undefined ? 'put the store on a local file system that you may write' : 'use another --backend',
  });
}
