import { resolve } from 'node:path';
import { createSecretResolver } from '../secrets.js';
import type { Secret } from '../spec/image.js';
import { textOption } from './command.js';

/**
 * `--registry-config FILE`: credentials for the images of this call alone. The file is read here, as its caller and not
 * as a daemon, and must not be one that others can write. Rejects as the default secret resolver.
 */
export async function registryConfigOption(
  options: Readonly<Record<string, unknown>>,
): Promise<{ readonly config?: Secret }> {
  const path = textOption(options, 'registryConfig');
  if (path === undefined) return {};
  const resolver = await createSecretResolver();
  const value = await resolver.resolve({ type: 'reference', reference: { name: `file:${resolve(path)}` } });
  return { config: { type: 'value', value } };
}
