/** OpenPGP keys that are made for one test and gone after it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const hasGnupg = ['gpg', 'gpgv', 'gpgconf'].every((name) => spawnSync(name, ['--version']).status === 0);

export class KeyMaker {
  /** Short, for gpg-agent's socket lies in it. */
  readonly #home = mkdtempSync(join(tmpdir(), 'lk-'));

  /** An ed25519 key; returns its fingerprint. `at` is the time of its making, `expire` as gpg takes it. */
  make(name: string, { at, expire = 'never' }: { readonly at?: string; readonly expire?: string } = {}): string {
    this.#gpg([...timeOf(at), '--quick-generate-key', `${name}@example.com`, 'ed25519', 'sign', expire]);
    const list = this.#gpg(['--with-colons', '--list-keys', `${name}@example.com`]).toString();
    return /^fpr:+([0-9A-F]{40}):/m.exec(list)?.[1] ?? '';
  }

  revoke(fingerprint: string): void {
    const certificate = readFileSync(join(this.#home, 'openpgp-revocs.d', `${fingerprint}.rev`), 'utf8');
    this.#gpg(['--import'], Buffer.from(certificate.replace(/^:-----/gm, '-----')));
  }

  /** Public keys in a file. */
  export(path: string, fingerprints: readonly string[], { armor = true } = {}): string {
    writeFileSync(path, this.#gpg([...(armor ? ['--armor'] : []), '--export', ...fingerprints]));
    return path;
  }

  exportSecret(path: string, fingerprint: string): string {
    writeFileSync(path, this.#gpg(['--armor', '--export-secret-keys', fingerprint]));
    return path;
  }

  /** By default a detached, armoured signature. */
  sign(
    fingerprints: readonly string[],
    bytes: Uint8Array,
    { at, how = '--detach-sign', more = [] }: { at?: string; how?: string; more?: readonly string[] } = {},
  ): Buffer {
    const signers = fingerprints.flatMap((each) => ['--local-user', each]);
    return this.#gpg([...timeOf(at), ...more, '--armor', ...signers, how], bytes);
  }

  [Symbol.dispose](): void {
    spawnSync('gpgconf', ['--kill', 'all'], { env: this.#env() });
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 3 });
  }

  #gpg(args: readonly string[], input?: Uint8Array): Buffer {
    const common = ['--batch', '--quiet', '--no-tty', '--yes', '--pinentry-mode', 'loopback', '--passphrase', ''];
    return execFileSync('gpg', [...common, ...args], {
      env: this.#env(),
      stdio: ['pipe', 'pipe', 'pipe'],
      maxBuffer: 2 ** 28,
      ...(input === undefined ? {} : { input }),
    });
  }

  #env(): NodeJS.ProcessEnv {
    return { PATH: process.env['PATH'], GNUPGHOME: this.#home };
  }
}

function timeOf(at: string | undefined): readonly string[] {
  return at === undefined ? [] : ['--faked-system-time', at];
}
