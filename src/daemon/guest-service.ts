/** What guests may ask for: a few of the daemon's operations, with what is theirs in them. */
import { BACKEND_NAMES } from '../backends/backend.js';
import { LarderError } from '../errors.js';
import type { LarderEvent, OperationOptions } from '../events.js';
import type { ImageSummary } from '../larder.js';
import type { ClaimRecord } from '../metadata/records.js';
import type { ProvisionRequest } from '../provisioner.js';
import { imageNamed } from '../spec/any-image.js';
import type { Image } from '../spec/image.js';
import { type Admitted, isOwn, requireOwn } from './guests.js';
import {
  anyText,
  dockerChoice,
  flag,
  HttpRefusal,
  image,
  list,
  object,
  oneOf,
  optional,
  type Read,
  withoutUndefined,
} from './request.js';
import { type Operation, type Service, volume } from './service.js';
import type { DaemonFacts, PulledSummary } from './wire.js';

/** POST: path -> what it does for this user. */
export const GUEST_OPERATIONS: Readonly<Record<string, (uid: number) => Operation>> = {
  '/v1/pull': operation(
    'pull',
    object({
      reference: anyText,
      // `defaultLogin`, whatever he says of it, is never used for him.
      ...dockerChoice,
    }),
    async (uid, { reference, ...choice }, service, options): Promise<PulledSummary> =>
      withAdmitted(uid, [imageNamed(reference, '/', choice)], service, options, async ([admitted]) => {
        const { name, type: _, ...request } = requireOne(admitted).image;
        await using pulled = await service.larder.pull(name, { ...request, ...options });
        return { record: pulled.record, info: pulled.info };
      }),
  ),
  '/v1/provision': operation(
    'provision',
    object({
      id: anyText,
      image: optional(image),
      reference: optional(anyText),
      ...dockerChoice,
      backend: optional(oneOf(...BACKEND_NAMES)),
      nodev: optional(alwaysTrue),
      nosuid: optional(flag),
      noexec: optional(flag),
      volumes: optional(list(volume)),
    }),
    async (
      uid,
      { id, image: wanted, reference, platform, cached, config, defaultLogin, volumes = [], ...request },
      service,
      options,
    ) => {
      requireOwn(uid, id);
      const choice = withoutUndefined({ platform, cached, config, defaultLogin });
      const given = [wanted, reference].filter((each) => each !== undefined).length;
      if (given > 1 || (reference === undefined && Object.keys(choice).length > 0))
        throw new HttpRefusal(400, 'read the request: provision: expected an image, or in its place a reference');
      const own = reference === undefined ? wanted : imageNamed(reference, '/', choice);
      const all: readonly Image[] = [...(own === undefined ? [] : [own]), ...volumes.map((each) => each.image)];
      return withAdmitted(uid, all, service, options, (admitted) => {
        const images = admitted.map((each) => each.image);
        const first = own === undefined ? undefined : images.shift();
        const theirs = volumes.map((each, i) => ({ ...each, image: images[i] ?? each.image }));
        const how: ProvisionRequest = { ...withoutUndefined(request), volumes: theirs, ...options };
        return first === undefined
          ? service.provisioner.provisionVolumes(id, how)
          : service.provisioner.provision(id, first, how);
      });
    },
  ),
  '/v1/destroy': operation('destroy', object({ id: anyText }), async (uid, { id }, { provisioner }, options) => {
    requireOwn(uid, id);
    return provisioner.destroy(id, options);
  }),
};

/** GET: path -> what it answers this user. */
export const GUEST_QUESTIONS: Readonly<Record<string, (service: Service, uid: number) => unknown>> = {
  // Settings may hold logins, and what is hashed can be guessed.
  '/v1/daemon': ({ facts }): DaemonFacts => ({ ...facts, settings: {}, ownLogins: true }),
  '/v1/images': ({ larder, guests }, uid): ImageSummary[] =>
    larder
      .images()
      .filter((record) => guests.mayList(uid, record))
      .map((record) => ({
        ...record,
        containers: record.containers.filter((container) => isOwn(uid, { container })),
      })),
  '/v1/containers': ({ provisioner }, uid): ClaimRecord[] => provisioner.list().filter((claim) => isOwn(uid, claim)),
};

/** Devices are for who may have them anyway. */
function alwaysTrue(value: unknown, what: string): boolean {
  if (flag(value, what)) return true;
  throw new LarderError('LARDER_PERMISSION', `read the request: ${what}: only root may let device nodes work`);
}

/** What is told of requests names the images of whoever is served at the time. */
const OF_OTHERS_TOO: readonly LarderEvent['type'][] = ['retry', 'rate-limit', 'mirror', 'token', 'warning', 'debug'];

function operation<T>(
  name: string,
  members: Read<T>,
  work: (uid: number, request: T, service: Service, options: OperationOptions) => Promise<unknown>,
): (uid: number) => Operation {
  return (uid) => ({
    name,
    read: (body) => {
      const request = members(body, name);
      return (service, { onEvent, ...options }) => {
        const tell = (event: LarderEvent): void => {
          if (!OF_OTHERS_TOO.includes(event.type)) onEvent?.(event);
        };
        return work(uid, request, service, { ...options, onEvent: tell });
      };
    },
  });
}

/** All of them, or none. */
async function withAdmitted<T>(
  uid: number,
  images: readonly Image[],
  { guests }: Service,
  options: OperationOptions,
  use: (admitted: readonly Admitted[]) => Promise<T>,
): Promise<T> {
  const admitted: Admitted[] = [];
  for (const each of images) admitted.push(await guests.admit(uid, each, options));
  try {
    const result = await use(admitted);
    for (const each of admitted) await each.ended();
    return result;
  } catch (error) {
    // Of several it is not known whose registry it was: all are asked again.
    for (const each of admitted) await each.ended(error);
    throw error;
  }
}

function requireOne(admitted: Admitted | undefined): Admitted {
  if (admitted !== undefined) return admitted;
  throw new HttpRefusal(400, 'read the request: pull: expected a reference');
}
