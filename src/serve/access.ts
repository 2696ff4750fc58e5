/**
 * Who may have what. Whoever can connect is nobody in particular: he gets what its registry gives to everybody, or to the
 * login that he sends along, and this also where the bytes are here already because of somebody else's login.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { isLarderError } from '../errors.js';
import type { RequestOptions } from '../registry/registry-client.js';
import type { Digest } from '../spec/digest.js';
import type { Secret } from '../spec/image.js';
import type { Reference } from '../spec/reference.js';
import { BoundedMap } from './bounded-map.js';
import { Refusal } from './refusal.js';
import type { Upstream } from './upstream.js';

/** As `metadata/grants`. */
export interface Grants {
  has(uid: number, repository: string): boolean;
  put(uid: number, repository: string): Promise<void>;
  revoke(uid: number, repository: string): Promise<void>;
}

export interface AccessOptions {
  readonly grants: Grants;
  /** Everybody gets what the store has and what its own logins reach. */
  readonly sharePrivate: boolean;
}

/** Who asks: nobody in particular, or somebody with a login. */
export interface Caller {
  /** Equal for equal logins; says nothing about them. Empty: no login. */
  readonly id: string;
  readonly authorization: string;
}

/** No user has this number: what is granted to it, everybody may have. */
const EVERYBODY = -1;
/** A login that the registry has let in is not asked for again for so long. */
const LOGIN_PROOF_MS = 5 * 60_000;
const MAX_PROOFS = 10_000;
const MAX_AUTHORIZATION = 8192;

export class Access {
  readonly #options: AccessOptions;
  readonly #salt = randomBytes(32);
  /** Caller and repository -> until when, on the monotonic clock. */
  readonly #proofs = new BoundedMap<string, number>(MAX_PROOFS);

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Only Basic is a login here: no tokens are given out, so nobody has one. */
  callerOf(authorization: string | undefined): Caller {
    const [, encoded] = /^Basic ([A-Za-z0-9+/]+={0,2})$/i.exec(authorization ?? '') ?? [];
    if (encoded === undefined || encoded.length > MAX_AUTHORIZATION) return { id: '', authorization: '' };
    const id = createHmac('sha256', this.#salt).update(encoded).digest('hex');
    return { id, authorization: encoded };
  }

  /**
   * Whom to be at the registry of this repository. With a login only it is known there, for this one repository; it is
   * never sent anywhere else than where that registry's own login goes.
   */
  loginFor({ id, authorization }: Caller, { domain, path }: Reference): { config?: Secret; defaultLogin: boolean } {
    if (this.#options.sharePrivate) return { defaultLogin: true };
    if (id === '') return { defaultLogin: false };
    const value = JSON.stringify({ auths: { [`${domain}/${path}`]: { auth: authorization } } });
    return { config: { type: 'value', value }, defaultLogin: false };
  }

  /**
   * Rejects with what the registry says where it does not let the caller in, and with LARDER_REGISTRY_UNAVAILABLE where it
   * cannot be asked. `digest`: a blob is wanted.
   */
  async admit(
    caller: Caller,
    reference: Reference,
    digest: Digest | undefined,
    upstream: Upstream,
    options: RequestOptions,
  ): Promise<void> {
    if (this.#isKnown(caller, reference)) return;
    // Not by what a mirror answers: it may let everybody in.
    if (digest === undefined) await upstream.proveManifest(reference, options);
    else await upstream.blobSize(reference, digest, { ...options, atRegistry: true });
    const repository = repositoryOf(reference);
    if (caller.id === '') await this.#options.grants.put(EVERYBODY, repository);
    else this.#proofs.set(`${caller.id} ${repository}`, performance.now() + LOGIN_PROOF_MS);
  }

  /** The registry has refused what it gave before: it is asked again from now on. */
  async refused(caller: Caller, reference: Reference, error: unknown): Promise<void> {
    if (!isLarderError(error, 'LARDER_REGISTRY_UNAUTHENTICATED', 'LARDER_REGISTRY_DENIED')) return;
    const repository = repositoryOf(reference);
    this.#proofs.delete(`${caller.id} ${repository}`);
    if (caller.id === '' && this.#options.grants.has(EVERYBODY, repository))
      await this.#options.grants.revoke(EVERYBODY, repository);
  }

  #isKnown(caller: Caller, reference: Reference): boolean {
    const { grants, sharePrivate } = this.#options;
    const repository = repositoryOf(reference);
    if (sharePrivate || grants.has(EVERYBODY, repository)) return true;
    return (this.#proofs.get(`${caller.id} ${repository}`) ?? 0) > performance.now();
  }
}

export function repositoryOf({ domain, path }: Pick<Reference, 'domain' | 'path'>): string {
  return `${domain}/${path}`;
}

/** Throws {@link Refusal} for registries that are not among those that are served. */
export function requireServed({ domain }: Reference, upstreams: readonly string[]): void {
  if (upstreams.length === 0 || upstreams.includes(domain)) return;
  throw new Refusal(403, 'DENIED', `serve ${domain}: this registry is not among those that are served here`);
}
