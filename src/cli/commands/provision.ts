import type { BackendName } from '../../backends/backend.js';
import { LarderError } from '../../errors.js';
import { type Command, platformOption, textOption } from '../command.js';
import { registryConfigOption } from '../registry-config.js';

/** `larder provision REF --id ID [--backend NAME]`: prints the root filesystem's path. */
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
    ...platformOption(options),
    ...(await registryConfigOption(options)),
  });
  for (const message of info.warnings) onEvent({ type: 'warning', message });
  return { data: info, text: info.rootfs };
};
