import { arch } from 'node:os';
import { LarderError } from '../errors.js';

/** What an image runs on (OCI image-spec, image index, `platform`), normalised: Go's names, no default variant. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Never the architecture's default: absent for amd64/v1 and arm64/v8. Always there for arm. */
  readonly variant?: string;
}

/** What selection needs to know of an entry of an image index. */
export interface PlatformEntry {
  readonly platform?: Platform | undefined;
}

const PART = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Parses `os/arch[/variant]`, also with the kernel's names (`x86_64`, `aarch64`). Rejects with LARDER_REQUEST_INVALID. */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  const [os, architecture, variant] = parts;
  if (os === undefined || architecture === undefined || parts.length > 3 || !parts.every((part) => PART.test(part))) {
    throw new LarderError(
      'LARDER_REQUEST_INVALID',
      `platform: ${JSON.stringify(text.slice(0, 100))}: not os/arch[/variant]`,
      {
        hint: 'for example linux/amd64 or linux/arm/v7',
      },
    );
  }
  return normalizePlatform(os, architecture, variant ?? '');
}

export function formatPlatform(platform: Platform): string {
  const base = `${platform.os}/${platform.architecture}`;
  return platform.variant === undefined ? base : `${base}/${platform.variant}`;
}

/** The spellings that are around, as containerd's `platforms.Normalize` maps them. */
export function normalizePlatform(os: string, architecture: string, variant: string): Platform {
  const normalOs = os.toLowerCase();
  const [arch, v] = normalizeArchitecture(architecture.toLowerCase(), variant.toLowerCase());
  return { os: normalOs, architecture: arch, ...(v === '' ? {} : { variant: v }) };
}

function normalizeArchitecture(architecture: string, variant: string): readonly [string, string] {
  const v = /^\d/.test(variant) ? `v${variant}` : variant;
  switch (architecture) {
    case 'i386':
    case 'i686':
      return ['386', ''];
    case 'x86_64':
    case 'x86-64':
    case 'amd64':
      return ['amd64', v === 'v1' ? '' : v];
    case 'aarch64':
    case 'arm64':
      return ['arm64', v === 'v8' || v === 'v8.0' ? '' : v];
    case 'armhf':
      return ['arm', 'v7'];
    case 'armel':
      return ['arm', 'v6'];
    case 'arm':
      return ['arm', v === '' ? 'v7' : v];
    default:
      return [architecture, v];
  }
}

/** What images for this machine say. Always linux: that is what larder mounts, and reads wherever it runs. */
export function hostPlatform(): Platform {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', mipsel: 'mipsle', ppc64: 'ppc64le' };
  const name = arch();
  // Node runs on armv6 and later; `arm_version` is what it was built for.
  const { arm_version: armVersion } = process.config.variables as { arm_version?: string | number };
  return normalizePlatform('linux', names[name] ?? name, name === 'arm' ? String(armVersion ?? '7') : '');
}

/**
 * The entry of an image index to run on `wanted`: the same architecture with the highest variant that is not above
 * the wanted one; of equals the first. Entries without a platform and attestations (`unknown/unknown`) never match.
 * Unlike containerd, amd64 is not served with 386, nor arm64 with arm: who wants that asks for it.
 * Rejects with LARDER_PLATFORM_NOT_FOUND and lists what there is.
 */
export function selectPlatform<E extends PlatformEntry>(entries: readonly E[], wanted: Platform, doing: string): E {
  const best = findPlatform(entries, wanted);
  if (best === undefined) throw platformNotFound(entries, wanted, doing);
  return best;
}

/** Like {@link selectPlatform}; undefined where nothing matches. */
export function findPlatform<E extends PlatformEntry>(entries: readonly E[], wanted: Platform): E | undefined {
  let best: E | undefined;
  let bestRank = -1;
  for (const entry of entries) {
    const rank = entry.platform === undefined ? -1 : rankOf(entry.platform, wanted);
    if (rank > bestRank) {
      best = entry;
      bestRank = rank;
    }
  }
  return best;
}

/** LARDER_PLATFORM_NOT_FOUND, with what there is. */
export function platformNotFound(entries: readonly PlatformEntry[], wanted: Platform, doing: string): LarderError {
  const all = new Set(entries.flatMap(({ platform }) => (isKnown(platform) ? [formatPlatform(platform)] : [])));
  const there = [...all].slice(0, 20).join(', ');
  return new LarderError('LARDER_PLATFORM_NOT_FOUND', `${doing}: there is no image for ${formatPlatform(wanted)}`, {
    hint:
      there === ''
        ? 'the image index names no platform'
        : `there is ${there}${all.size > 20 ? ', …' : ''}; choose with --platform`,
    details: { wanted: formatPlatform(wanted), there },
  });
}

/** Whether an image for `offered` runs on `wanted`. */
export function platformMatches(offered: Platform, wanted: Platform): boolean {
  return rankOf(offered, wanted) >= 0;
}

function isKnown(platform: Platform | undefined): platform is Platform {
  return platform !== undefined && platform.os !== 'unknown' && platform.architecture !== 'unknown';
}

/** Higher is better, below zero does not run. */
function rankOf(offered: Platform, wanted: Platform): number {
  if (!isKnown(offered) || offered.os !== wanted.os || offered.architecture !== wanted.architecture) return -1;
  const can = levelOf(wanted);
  const needs = levelOf(offered);
  if (can === undefined || needs === undefined) return offered.variant === wanted.variant ? 0 : -1;
  return needs <= can ? needs : -1;
}

/** `v8.2` as 802; undefined for variants that are names. */
function levelOf(platform: Platform): number | undefined {
  const defaults: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8', arm: 'v7' };
  const match = /^v(\d{1,2})(?:\.(\d{1,2}))?$/.exec(platform.variant ?? defaults[platform.architecture] ?? 'v0');
  return match === null ? undefined : Number(match[1]) * 100 + Number(match[2] ?? 0);
}
