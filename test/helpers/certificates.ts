/** A private authority with openssl: certificates for servers, and for who logs in with one. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
}

export class Authority {
  readonly caFile: string;
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.caFile = join(directory, 'ca.pem');
  }

  static make(directory: string): Authority {
    const authority = new Authority(directory);
    const out = ['-keyout', join(directory, 'ca.key'), '-out', authority.caFile];
    openssl('req', '-x509', ...NEW_KEY, '-days', '2', '-subj', '/CN=larder test authority', ...out);
    return authority;
  }

  get ca(): string {
    return this.read(this.caFile);
  }

  read(file: string): string {
    return readFileSync(file, 'utf8');
  }

  /** `names` as openssl has them: `DNS:registry.test`, `IP:127.0.0.1`; none for a client. Over already where `days` is negative. */
  issue(name: string, names: readonly string[] = [], days = 2): Pair {
    const file = (ending: string): string => join(this.#directory, `${name}.${ending}`);
    openssl('req', ...NEW_KEY, '-subj', `/CN=${name}`, '-keyout', file('key'), '-out', file('csr'));
    writeFileSync(file('ext'), names.length === 0 ? 'extendedKeyUsage=clientAuth' : `subjectAltName=${names.join()}`);
    const ca = ['-CA', this.caFile, '-CAkey', join(this.#directory, 'ca.key'), '-CAcreateserial'];
    openssl(
      'x509',
      '-req',
      '-in',
      file('csr'),
      ...ca,
      '-days',
      String(days),
      '-extfile',
      file('ext'),
      '-out',
      file('pem'),
    );
    return { certFile: file('pem'), keyFile: file('key') };
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}
