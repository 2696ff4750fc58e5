import type { BackendName } from '../../backends/backend.js';
import { LarderError } from '../../errors.js';
import { type Command, platformOption, textOption } from '../command.js';
import { registryConfigOption } from '../registry-config.js';
import { volumeOptions } from '../volume.js';

/** `larder provision REF --id ID [--volume NAME=REF[,rw]]…`: prints the root filesystem's path, and then a line for each volume. */
export const provision: Command = async ({ open, onEvent, signal }, [reference = ''], options) => {
  const store = await open();
  const backend = textOption(options, 'backend');
  const id = textOption(options, 'id');
  if (id === undefined) {
    throw new LarderError('LARDER_REQUEST_INVALID', `provision ${reference}: the container has no name`, {
      hint: 'give it one with --id',
    });
  }
  const info = await store.provision(reference, {
    id,
    onEvent,
    signal,
    cached: options['refresh'] !== true,
    ...(backend === undefined ? {} : { backend: backend as BackendName }),
    nodev: options['dev'] !== true,
    nosuid: options['nosuid'] === true,
    noexec: options['noexec'] === true,
    volumes: volumeOptions(options).map(({ place, ...volume }) => ({ name: place, ...volume })),
    ...platformOption(options),
    ...(await registryConfigOption(options)),
  });
  for (const message of info.warnings) onEvent({ type: 'warning', message });
  const volumes = info.volumes.map(({ name, rootfs }) => `${name} ${rootfs}`);
  return { data: info, text: [info.rootfs, ...volumes].join('\n') };
};
