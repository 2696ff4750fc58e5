/** What the daemon serves: one open store, by the faces that requests need. */
import { BACKEND_NAMES } from '../backends/backend.js';
import type { Finding } from '../check.js';
import type { OperationOptions } from '../events.js';
import type { Larder } from '../larder.js';
import type { Provisioner, ProvisionRequest, VolumeRequest } from '../provisioner.js';
import type { Image } from '../spec/image.js';
import type { Guests } from './guests.js';
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
  secret,
  text,
  withoutUndefined,
} from './request.js';
import type { DaemonFacts, PulledSummary } from './wire.js';

export interface Service {
  readonly larder: Larder;
  readonly provisioner: Provisioner;
  readonly facts: DaemonFacts;
  readonly guests: Guests;
  /** Images that no garbage collection and no operator's call removes. */
  readonly alwaysExcluded: readonly Image[];
}

/** What a request asks for, read and checked, ready to be done. */
export type Work = (service: Service, options: OperationOptions) => Promise<unknown>;

export interface Operation {
  readonly name: string;
  /** Rejects what it does not understand before anything is begun. */
  readonly read: (body: unknown) => Work;
}

const volumeMembers = object({
  name: anyText,
  image,
  readOnly: optional(flag),
  backend: optional(oneOf(...BACKEND_NAMES)),
});

export const volume: Read<VolumeRequest> = (value, what) => withoutUndefined(volumeMembers(value, what));

/** POST: path -> what it does. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  '/v1/pull': operation(
    'pull',
    object({
      reference: anyText,
      ...dockerChoice,
      asOf: optional(text),
    }),
    async ({ reference, ...request }, { larder }, options): Promise<PulledSummary> => {
      await using pulled = await larder.pull(reference, { ...withoutUndefined(request), ...options });
      return { record: pulled.record, info: pulled.info };
    },
  ),
  '/v1/plan': operation(
    'plan',
    object({
      reference: anyText,
      ...dockerChoice,
    }),
    async ({ reference, ...request }, { larder }, options) =>
      larder.plan(reference, { ...withoutUndefined(request), ...options }),
  ),
  '/v1/attach': operation(
    'attach',
    object({ pull: text }),
    async ({ pull }, { larder }, { onEvent, signal }): Promise<null> => {
      for await (const event of larder.attach(pull, signal === undefined ? {} : { signal })) onEvent?.(event);
      return null;
    },
  ),
  '/v1/history': operation(
    'history',
    object({ reference: anyText, platform: optional(text) }),
    async ({ reference, ...request }, { larder }) => larder.history(reference, withoutUndefined(request)),
  ),
  '/v1/rollback': operation(
    'rollback',
    object({
      reference: anyText,
      platform: optional(text),
      to: optional(text),
      config: optional(secret),
      defaultLogin: optional(flag),
    }),
    async ({ reference, ...request }, { larder }, options): Promise<PulledSummary> => {
      await using pulled = await larder.rollback(reference, { ...withoutUndefined(request), ...options });
      return { record: pulled.record, info: pulled.info };
    },
  ),
  '/v1/provision': operation(
    'provision',
    object({
      id: anyText,
      image: optional(image),
      reference: optional(anyText),
      ...dockerChoice,
      backend: optional(oneOf(...BACKEND_NAMES)),
      nodev: optional(flag),
      nosuid: optional(flag),
      noexec: optional(flag),
      volumes: optional(list(volume)),
    }),
    async (
      { id, image: wanted, reference, platform, cached, config, defaultLogin, ...request },
      { larder, provisioner },
      options,
    ) => {
      const how: ProvisionRequest = { ...withoutUndefined(request), ...options };
      const choice = withoutUndefined({ platform, cached, config, defaultLogin });
      if (reference !== undefined && wanted === undefined)
        return larder.provision(reference, { ...choice, ...how, id });
      if (reference === undefined && Object.keys(choice).length === 0)
        return wanted === undefined ? provisioner.provisionVolumes(id, how) : provisioner.provision(id, wanted, how);
      throw new HttpRefusal(400, 'read the request: provision: expected an image, or in its place a reference');
    },
  ),
  '/v1/destroy': operation('destroy', object({ id: anyText }), async ({ id }, { provisioner }, options) =>
    provisioner.destroy(id, options),
  ),
  '/v1/recover': operation(
    'recover',
    object({ known: list(anyText) }),
    async ({ known }, { provisioner }, options): Promise<null> => {
      await provisioner.recover(known, options);
      return null;
    },
  ),
  '/v1/prune': operation(
    'prune',
    object({ exclude: optional(list(anyText)), dryRun: optional(flag), all: optional(flag) }),
    async (request, { larder }, options) => larder.prune({ ...withoutUndefined(request), ...options }),
  ),
  '/v1/prune-images': operation(
    'prune-images',
    object({ excluded: list(image), dryRun: optional(flag), all: optional(flag) }),
    async ({ excluded, ...request }, { provisioner }, options): Promise<null> => {
      await provisioner.pruneImages(excluded, { ...withoutUndefined(request), ...options });
      return null;
    },
  ),
  '/v1/remove': operation(
    'remove',
    object({ reference: anyText, platform: optional(text) }),
    async ({ reference, ...request }, { larder }, options) =>
      larder.remove(reference, { ...withoutUndefined(request), ...options }),
  ),
  '/v1/check': operation(
    'check',
    object({ deep: optional(flag) }),
    async (request, { larder }, options): Promise<readonly Finding[]> => {
      const findings: Finding[] = [];
      for await (const finding of larder.check({ ...withoutUndefined(request), ...options })) findings.push(finding);
      return findings;
    },
  ),
};

/** GET: path -> what it answers. */
export const QUESTIONS: Readonly<Record<string, (service: Service) => unknown>> = {
  '/v1/daemon': ({ facts }) => facts,
  '/v1/info': ({ larder }) => larder.info(),
  '/v1/images': ({ larder }) => larder.images(),
  '/v1/pulls': ({ larder }) => larder.pulls(),
  '/v1/containers': ({ provisioner }) => provisioner.list(),
};

function operation<T>(
  name: string,
  members: Read<T>,
  work: (request: T, service: Service, options: OperationOptions) => Promise<unknown>,
): Operation {
  return {
    name,
    read: (body) => {
      const request = members(body, name);
      return (service, options) => work(request, service, options);
    },
  };
}
