/**
 * `node dist/test/bounds/surface.js [--offline]`: how much foreign code sees an image's bytes. Follows the imports of what reads
 * layers; ends with 1 when one of them leads to a package that is not a decompressor's, when the lockfile names a package
 * without its hash, or when `npm audit` knows of a fault (where the registry answers).
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CHECKOUT } from '../checkout.js';

/** Everything that reads entries, trees and metadata images. */
const READERS = [
  'tar/reader',
  'tree/index-builder',
  'tree/merge',
  'tree/image-fs',
  'erofs/write-erofs',
  'erofs/verify',
];
/** What inflates: a binding to the host's decoders, and the decoder where the host has none. */
const DECODERS = ['tar/compression'];
const DECODER_PACKAGES = ['koffi', 'zstddec'];

const readers = packagesOf(READERS);
const decoders = packagesOf(DECODERS).filter((name) => !DECODER_PACKAGES.includes(name));
const { packages } = JSON.parse(readFileSync(join(CHECKOUT, 'package-lock.json'), 'utf8')) as {
  packages: Readonly<Record<string, { integrity?: string }>>;
};
const locked = Object.entries(packages).filter(([path]) => path !== '');
const unlocked = locked.filter(([, { integrity }]) => !integrity?.startsWith('sha512-'));
const known = process.argv.includes('--offline') ? undefined : knownFaults();
console.log(`packages that decoders need: ${packagesOf(DECODERS).join(', ')}`);
console.log(
  `${readers.length} packages among what reads tars, trees and EROFS images (${readers.join(', ') || 'none'}), ${decoders.length} unknown ones among decoders; ${locked.length} packages locked, ${unlocked.length} without a hash; npm audit: ${known ?? 'not answered'}`,
);
process.exitCode = readers.length + decoders.length + unlocked.length + (known ?? 0) === 0 && locked.length > 0 ? 0 : 1;

/** Packages that these modules of src/ load, they themselves or what they load. */
function packagesOf(modules: readonly string[]): string[] {
  const found = new Set<string>();
  const seen = new Set<string>();
  const follow = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const [, target = ''] of readFileSync(path, 'utf8').matchAll(
      /\b(?:from|import|import\(|require\()\s*'([^'\n]+)'/g,
    )) {
      if (target.startsWith('.')) follow(join(dirname(path), target));
      else if (!target.startsWith('node:')) found.add(target.split('/', target.startsWith('@') ? 2 : 1).join('/'));
    }
  };
  for (const name of modules) follow(join(CHECKOUT, 'dist', 'src', `${name}.js`));
  return [...found].sort();
}

/** Of packages that are installed with larder; nothing when the registry does not answer. */
function knownFaults(): number | undefined {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd: CHECKOUT,
    encoding: 'utf8',
    timeout: 60_000,
  });
  try {
    const answer = JSON.parse(stdout) as { metadata?: { vulnerabilities?: { total?: number } } };
    return answer.metadata?.vulnerabilities?.total;
  } catch {
    return undefined;
  }
}
