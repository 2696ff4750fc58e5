/**
 * ▸ Appc images for tests: real ACIs, deterministic where their compression is (bzip2 and xz are the host's programs).
 *
 *     const base = buildAci({ name: 'example.com/base', files: { 'etc/motd': 'hello\n' } });
 *     const app = buildAci({ name: 'example.com/app', dependencies: [{ imageName: base.name, imageID: base.id }] });
 *     writeAciDirectory('/srv/acis', [base, app]);
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { appcRequestOf } from '../spec/appc-name.js';
import { type AppcImageId, imageIdOf } from '../spec/appc-types.js';
import { digestOf } from '../spec/digest.js';
import { hostPlatform } from '../spec/platform.js';
import { dir, file, tar } from './tar-builder.js';

export type AciCompression = 'none' | 'gzip' | 'bzip2' | 'xz';

export interface AciOptions {
  readonly name: string;
  /** In the manifest as given; nothing is filled in. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly dependencies?: readonly AciDependency[];
  readonly pathWhitelist?: readonly string[];
  readonly app?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Below `rootfs/`: path without a leading slash -> content. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Further entries made with the tar builder, with their `rootfs/`. */
  readonly entries?: readonly Uint8Array[];
  /** The whole archive instead, for layouts that are wrong on purpose; the manifest is handed in. */
  readonly archive?: (manifest: Uint8Array) => readonly Uint8Array[];
  /** Fields that replace or join those of the manifest. */
  readonly manifest?: Readonly<Record<string, unknown>>;
  /** Default gzip. */
  readonly compression?: AciCompression;
}

export interface AciDependency {
  readonly imageName: string;
  readonly imageID?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly size?: number;
}

export interface BuiltAci {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** SHA-512 of `tar`. */
  readonly id: AppcImageId;
  /** The ACI as it is transferred. */
  readonly bytes: Uint8Array;
  readonly tar: Uint8Array;
  readonly manifest: Uint8Array;
}

export function buildAci(options: AciOptions): BuiltAci {
  const manifest = Buffer.from(JSON.stringify(manifestOf(options)));
  const archive = tar(
    options.archive?.(manifest) ?? [file('manifest', manifest), dir('rootfs'), ...entriesOf(options)],
  );
  return {
    name: options.name,
    labels: options.labels ?? {},
    id: imageIdOf(digestOf(archive, 'sha512')),
    bytes: compress(archive, options.compression ?? 'gzip'),
    tar: archive,
    manifest,
  };
}

/** `{name}-{version}-{os}-{arch}.{ext}`: where simple discovery looks, with what the image does not say filled in for this machine. */
export function aciFileName({ name, labels }: Pick<BuiltAci, 'name' | 'labels'>, ext = 'aci'): string {
  const request = appcRequestOf({ type: 'appc', name, labels }, hostPlatform());
  return `${name}-${request.labels['version']}-${request.labels['os']}-${request.labels['arch']}.${ext}`;
}

/** A directory for simple discovery (`appc_simple_discovery_uri_prefix` is it with a slash at its end); returns the paths in order. */
export function writeAciDirectory(directory: string, acis: readonly BuiltAci[]): string[] {
  return acis.map((aci) => {
    const path = join(directory, aciFileName(aci));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, aci.bytes);
    return path;
  });
}

function manifestOf(options: AciOptions): Record<string, unknown> {
  const { name, labels, dependencies, pathWhitelist, app, annotations } = options;
  return {
    acKind: 'ImageManifest',
    acVersion: '0.8.11',
    name,
    ...(labels === undefined ? {} : { labels: labelList(labels) }),
    ...(app === undefined ? {} : { app }),
    ...(dependencies === undefined
      ? {}
      : {
          dependencies: dependencies.map(({ labels: own, ...rest }) => ({
            ...rest,
            ...(own === undefined ? {} : { labels: labelList(own) }),
          })),
        }),
    ...(pathWhitelist === undefined ? {} : { pathWhitelist }),
    ...(annotations === undefined ? {} : { annotations: labelList(annotations) }),
    ...options.manifest,
  };
}

function labelList(labels: Readonly<Record<string, string>>): { name: string; value: string }[] {
  return Object.entries(labels).map(([name, value]) => ({ name, value }));
}

/** Directories first, each once. */
function entriesOf({ files = {}, entries = [] }: AciOptions): readonly Uint8Array[] {
  const directories = new Set<string>();
  for (const path of Object.keys(files)) {
    const parts = path.split('/').slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth++) directories.add(parts.slice(0, depth).join('/'));
  }
  return [
    ...[...directories].sort().map((path) => dir(`rootfs/${path}`)),
    ...Object.entries(files).map(([path, content]) => file(`rootfs/${path}`, content)),
    ...entries,
  ];
}

function compress(bytes: Uint8Array, compression: AciCompression): Uint8Array {
  if (compression === 'none') return bytes;
  if (compression === 'gzip') return gzipSync(bytes);
  const { status, stdout, stderr, error } = spawnSync(compression, ['-c'], { input: bytes, maxBuffer: 2 ** 30 });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${compression}: ended with ${status}: ${stderr.toString()}`);
  return stdout;
}
