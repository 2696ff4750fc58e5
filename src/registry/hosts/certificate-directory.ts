import { join } from 'node:path';
import { LarderError } from '../../errors.js';
import type { HostTrust } from './endpoint.js';
import { isFile, namesIn } from './files.js';
import { readText } from './toml-file.js';

/**
 * Docker's directory for one registry, `certs.d/HOST[:PORT]/`: every `*.crt` is an authority, every `NAME.cert` a client
 * certificate with its key in `NAME.key`. Throws LARDER_CONFIG_INVALID where one of a pair is missing.
 */
export function readCertificateDirectory(directory: string): HostTrust {
  const names = namesIn(directory);
  const read = (name: string): string => readText(join(directory, name), 'read certificates');
  const authorities = names.filter((name) => name.endsWith('.crt'));
  const clients = names
    .filter((name) => name.endsWith('.cert'))
    .map((name) => {
      const key = `${name.slice(0, -'.cert'.length)}.key`;
      if (!isFile(join(directory, key))) {
        const missing = `read certificates: ${directory}: ${name} is there without ${key}`;
        throw new LarderError('LARDER_CONFIG_INVALID', missing);
      }
      return { cert: read(name), key: read(key) };
    });
  return {
    ...(authorities.length === 0 ? {} : { ca: authorities.map(read).join('\n') }),
    ...(clients.length === 0 ? {} : { clients }),
  };
}

/** The trust for a host by the first of the directories that `has` finds there. */
export function findTrust(roots: readonly string[], host: string, has: (path: string) => boolean): HostTrust {
  const directory = roots.map((root) => join(root, host)).find(has);
  return directory === undefined ? {} : readCertificateDirectory(directory);
}
