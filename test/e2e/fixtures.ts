/**
 * Real images, made once into `.cache/e2e/<hash of the recipe>` and served from there by Debian's docker-registry:
 * what debootstrap installs, with layers over it that show everything, in every form in which a registry has images.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  type LayerSource,
  writeOciLayout,
} from '../../src/testing/image-builder.js';
import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { CHECKOUT } from '../checkout.js';
import { DockerRegistry } from './docker-registry.js';
import { featureLayers } from './feature-layers.js';
import { needsRoot } from './tools.js';

const SUITE = 'bookworm';
/** Documentation and caches: two thirds of the files, and nothing that a test would miss. */
const LEFT_OUT = [
  './var/cache/apt/*',
  './var/lib/apt/lists/*',
  './usr/share/doc/*',
  './usr/share/man/*',
  './usr/share/locale/*',
  './proc/*',
  './sys/*',
];

/** Repository:tag of each image in the registry. */
export const IMAGES = {
  single: 'debian:single',
  many: 'many:latest',
  docker: 'many:docker',
  zstd: 'many:zstd',
  multi: 'multi:latest',
} as const;
export type ImageName = keyof typeof IMAGES;

/** Why they cannot be made here, or false. */
export const FIXTURES_NEED = needsRoot('debootstrap', 'docker-registry', 'skopeo', 'tar', 'zstd');

export interface Fixtures {
  readonly registry: DockerRegistry;
  reference(name: ImageName): string;
  /** The images as an OCI layout with gzip layers, by {@link ImageName}, for other programs. */
  readonly layout: string;
}

/** Makes the images when they are not there, and serves them. The caller closes the registry. */
export async function openFixtures(): Promise<Fixtures> {
  const folder = await madeFixtures();
  const registry = await DockerRegistry.start(join(folder, 'registry'));
  return { registry, reference: (name) => `${registry.host}/${IMAGES[name]}`, layout: join(folder, 'layout') };
}

/** Several test files may want them at once: one makes them, the others wait. */
async function madeFixtures(): Promise<string> {
  const cache = join(CHECKOUT, '.cache', 'e2e');
  const folder = join(cache, recipeHash());
  mkdirSync(cache, { recursive: true });
  const lock = join(cache, 'lock');
  while (!existsSync(folder)) {
    if (!takeLock(lock)) {
      await sleep(200);
      continue;
    }
    try {
      if (!existsSync(folder)) await makeFixtures(cache, folder);
    } finally {
      rmSync(lock);
    }
  }
  return folder;
}

/** A lock whose holder has died is taken over. */
function takeLock(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const holder = existsSync(lock) ? Number(readFileSync(lock, 'utf8')) : process.pid;
  if (holder > 0 && !existsSync(`/proc/${holder}`)) rmSync(lock, { force: true });
  return false;
}

/** The recipe is this file and what it builds from. */
function recipeHash(): string {
  const hash = createHash('sha256');
  for (const { what, tar } of featureLayers()) hash.update(what).update(tar);
  hash.update(readFileSync(fileURLToPath(import.meta.url)));
  return hash.digest('hex').slice(0, 16);
}

async function makeFixtures(cache: string, folder: string): Promise<void> {
  const work = mkdtempSync(join(cache, 'making-'));
  const registry = await DockerRegistry.start(join(work, 'registry'));
  try {
    const base = debianTar(work);
    const features = featureLayers().map(({ tar }) => ({ tar }));
    const config = { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['/bin/bash'] };
    const single = buildImage({ layers: [{ tar: base }], config });
    const baseLayer: LayerSource = { tar: base, ...blobOf(single) };
    const many = buildImage({ layers: [baseLayer, ...features], config });
    const layout = join(work, 'layout');
    writeOciLayout(layout, { single, many, docker: many, zstd: many, multi: single });
    registry.skopeo(`oci:${layout}:single`, IMAGES.single, '--preserve-digests');
    registry.skopeo(`oci:${layout}:many`, IMAGES.many, '--preserve-digests');
    registry.skopeo(`oci:${layout}:many`, IMAGES.docker, '--format=v2s2');
    await registry.push(IMAGES.zstd, buildImage({ config, layers: [{ tar: base }, ...features].map(zstdLayer) }));
    await registry.push(IMAGES.multi, multiPlatform(single));
  } finally {
    await registry.close();
  }
  rmSync(join(work, 'debian'), { recursive: true });
  renameSync(work, folder);
}

/** A minimal Debian as one tar. */
function debianTar(work: string): Buffer {
  const root = join(work, 'debian');
  execFileSync('debootstrap', ['--variant=minbase', SUITE, root], { stdio: ['ignore', 'ignore', 'inherit'] });
  const left = LEFT_OUT.map((pattern) => `--exclude=${pattern}`);
  const format = ['--format=pax', '--sort=name', '--numeric-owner', '--xattrs', '--xattrs-include=*'];
  return execFileSync('tar', [...format, ...left, '-C', root, '-cf', '-', '.'], { maxBuffer: 2 ** 30 });
}

/** The compressed bytes of an image's first layer, so that they are not made again. */
function blobOf(image: BuiltImage): { readonly blob?: Uint8Array } {
  const [layer] = image.layers;
  return layer === undefined ? {} : { blob: layer.blob };
}

function zstdLayer({ tar }: { readonly tar: Uint8Array }): LayerSource {
  return {
    tar,
    compression: 'zstd',
    blob: execFileSync('zstd', ['-3', '-c', '-q'], { input: tar, maxBuffer: 2 ** 30 }),
  };
}

/** This machine's image in an index within the index, among others; the small ones are not compressed. */
function multiPlatform(own: BuiltImage) {
  const other = (platform: string) =>
    buildImage({ platform, layers: [{ tar: tar([dir('.'), file('platform', platform)]), compression: 'none' }] });
  return buildIndex([other('linux/s390x'), buildIndex([other('linux/arm/v7'), own]), other('windows/amd64')]);
}
