/**
 * Users who may use the socket but are neither root nor the daemon's own user. A guest gets what his own logins reach and
 * nothing else: an image that is here because of somebody else's login is served to him only after the registry itself
 * has let him in. What he may not name is what the daemon would read as its own user: archives, files, programs, variables.
 */
import { isLarderError, LarderError } from '../errors.js';
import type { OperationOptions } from '../events.js';
import type { Grants } from '../metadata/grants.js';
import type { ClaimRecord, ImageRecord } from '../metadata/records.js';
import type { DockerImage, Image } from '../spec/image.js';
import { isArchiveName, parseImageName } from '../spec/image-name.js';

export interface GuestsParts {
  readonly grants: Grants;
  /** As `DockerStore.prove`. */
  readonly prove: (image: DockerImage, options: OperationOptions) => Promise<void>;
}

/** An image as the guest may have it. */
export interface Admitted {
  readonly image: DockerImage;
  /** To be told how the use of it ended. */
  readonly ended: (error?: unknown) => Promise<void>;
}

export class Guests {
  readonly #parts: GuestsParts;

  constructor(parts: GuestsParts) {
    this.#parts = parts;
  }

  /**
   * Rejects with LARDER_PERMISSION for what no guest may name, and with what the registry says where it does not let him
   * in: LARDER_REGISTRY_*, LARDER_IMAGE_NOT_FOUND; with LARDER_REGISTRY_UNAVAILABLE when it cannot be asked.
   */
  async admit(uid: number, image: Image, options: OperationOptions): Promise<Admitted> {
    const { grants } = this.#parts;
    const repository = requireOpen(uid, image);
    const own: DockerImage = { ...requireDocker(uid, image), defaultLogin: false };
    const isGranted = grants.has(uid, repository);
    // A pull proves nothing: a mirror that lets everybody in may have served all of it.
    if (!isGranted) {
      await this.#prove(uid, own, options);
      await grants.put(uid, repository);
    }
    return {
      image: own,
      ended: async (error) => {
        // He was let in once, and is not any more.
        if (isGranted && isLarderError(error, 'LARDER_REGISTRY_UNAUTHENTICATED', 'LARDER_REGISTRY_DENIED'))
          await grants.revoke(uid, repository);
      },
    };
  }

  /** What of the listed images the guest may know of, without asking anybody. */
  mayList(uid: number, { type, reference }: Pick<ImageRecord, 'type' | 'reference'>): boolean {
    if (type !== 'docker') return false;
    const repository = repositoryOf(reference);
    return repository !== undefined && this.#parts.grants.has(uid, repository);
  }

  async #prove(uid: number, image: DockerImage, options: OperationOptions): Promise<void> {
    try {
      await this.#parts.prove(image, options);
    } catch (error) {
      if (!isLarderError(error) || !error.retryable) throw error;
      const why = `serve user ${uid}: ${image.name}: whether he may have it only its registry can tell: ${error.message}`;
      throw new LarderError(error.code, why, {
        hint: 'try again when the registry can be reached',
        details: error.details,
        cause: error,
      });
    }
  }
}

/** A guest's containers are nested in this name. */
export function guestName(uid: number): string {
  return `u${uid}`;
}

/** Rejects with LARDER_PERMISSION. */
export function requireOwn(uid: number, container: string): void {
  if (isOwn(uid, { container })) return;
  throw denied(uid, `container ${container}`, `not one of this user's`, `write ${guestName(uid)}/NAME`);
}

export function isOwn(uid: number, { container }: Pick<ClaimRecord, 'container'> | { container: string }): boolean {
  return container.startsWith(`${guestName(uid)}/`);
}

function requireDocker(uid: number, image: Image): DockerImage {
  if (image.type === 'docker') return image;
  throw denied(uid, image.name, 'only images of registries are served to users');
}

/** The image's repository, for what a guest may ask for at all. */
function requireOpen(uid: number, image: Image): string {
  const { name, config } = requireDocker(uid, image);
  if (config?.type === 'reference') {
    throw denied(uid, 'config', 'a secret must come as its value: a reference is read as the user of the daemon');
  }
  const repository = repositoryOf(name);
  if (repository !== undefined) return repository;
  throw denied(
    uid,
    name,
    'only images of registries are served to users: an archive is read as the user of the daemon',
  );
}

function repositoryOf(name: string): string | undefined {
  const parsed = parseImageName(name);
  return isArchiveName(parsed) ? undefined : `${parsed.domain}/${parsed.path}`;
}

function denied(uid: number, what: string, why: string, hint?: string): LarderError {
  return new LarderError('LARDER_PERMISSION', `serve user ${uid}: ${what}: ${why}`, hint === undefined ? {} : { hint });
}
