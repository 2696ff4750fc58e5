/** Images that are made to take memory. `part` scales what grows. */
import { dir, file, paxHeader, symlink, tar } from '../../src/testing/tar-builder.js';
import { headerMaker, trueLayer, zeroBomb } from './hostile-layers.js';
import type { HostileRegistry } from './hostile-registry.js';

export interface HostileImage {
  /** Of pull and provision. */
  readonly outcome: string;
  /** Answers the reference. */
  publish(registry: HostileRegistry, part: number): string;
}

const GIB = 2 ** 30;
const NAME = 'hostile';

/** Large by their bytes, or deep. */
export const BOMBS: Readonly<Record<string, HostileImage>> = {
  'a gzip of 10 GiB of zeros': layers('LARDER_DIGEST_MISMATCH', (part) => [zeroBomb('gzip', 10 * GIB * part, 'one')]),
  'a gzip of 10 GiB in files': layers('LARDER_DIGEST_MISMATCH', (part) => [zeroBomb('gzip', 10 * GIB * part, 'many')]),
  'a zstd of 10 GiB of zeros': layers('LARDER_LAYER_LIMIT', () => [zeroBomb('zstd', 10 * GIB, 'one')]),
  'a zstd of 10 GiB in files': layers('LARDER_LAYER_LIMIT', () => [zeroBomb('zstd', 10 * GIB, 'many')]),
  'a hundred thousand files': layers('ok', (part) => [trueLayer(files(1e5 * part))]),
  'extension headers of nearly 1 MiB': layers('ok', (part) => [
    trueLayer(tar(times(1000 * part, (i) => [paxHeader({ comment: 'x'.repeat(1e6) }), file(`f${i}`)]).flat()), 'gzip'),
  ]),
  'a manifest of 4 MiB that is nested a million deep': {
    outcome: 'LARDER_MANIFEST_INVALID',
    publish: (registry) => registry.addManifest(NAME, Buffer.from('[{"a":'.repeat(699_050))),
  },
};

/** As many and as long as the limits allow by default: their lists are in memory while they are merged. */
export const AT_THE_LIMITS: Readonly<Record<string, HostileImage>> = {
  'two million files': layers('ok', (part) => [trueLayer(files(2e6 * part - 1))]),
  'one file more than is allowed': layers('LARDER_LAYER_LIMIT', () => [trueLayer(files(2e6))]),
  'half a GiB of names': layers('ok', (part) => [
    trueLayer(tar(times(130_000 * part, (i) => file(longName(i)))), 'gzip'),
  ]),
  'half a GiB of links': layers('ok', (part) => [
    trueLayer(tar(times(130_000 * part, (i) => symlink(`l${i}`, longName(i)))), 'gzip'),
  ]),
  '120 MiB of attributes': layers('ok', (part) => [
    trueLayer(tar(times(480 * part, (i) => file(`f${i}`, '', { xattrs: attributes(i) }))), 'gzip'),
  ]),
  'a config of nearly 4 MiB of labels': {
    outcome: 'ok',
    publish: (registry) =>
      registry.addImage(NAME, [trueLayer(tar([file('a')]))], {
        Labels: Object.fromEntries(times(150_000, (i) => [`label${i}`, `${i}`])),
      }),
  },
};

function layers(outcome: string, make: (part: number) => ReturnType<typeof trueLayer>[]): HostileImage {
  return { outcome, publish: (registry, part) => registry.addImage(NAME, make(part)) };
}

function files(count: number): Buffer {
  const header = headerMaker(file('x'));
  return tar([dir('d'), ...times(count, (i) => header(`d/directory-${i >> 8}/file-${i}`))]);
}

function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: Math.ceil(count) }, (_, i) => make(i));
}

/** 4,000 bytes of sixteen components. */
function longName(i: number): string {
  return times(16, (n) => `${n === 15 ? i : n}`.padStart(249, 'n')).join('/');
}

function attributes(i: number): Record<string, Buffer> {
  return Object.fromEntries(times(4, (n) => [`user.${n}`, Buffer.alloc(64_000, `${i} ${n} `)]));
}
