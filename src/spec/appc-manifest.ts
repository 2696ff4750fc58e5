/**
 * The manifest of an Appc image (Appc specification 0.8.11, aci.md, "Image Manifest Schema"), and what it says about
 * who is meant. Where the specification's own code is laxer than its text, the text is followed, but for what Mesos
 * accepted and was used with: an `app` without user and group. Fields that are not known are ignored.
 */
import * as v from 'valibot';
import { LarderError } from '../errors.js';
import { type AppcRequest, completeRequest } from './appc-name.js';
import { type AcIdentifier, type AppcImageId, isAcIdentifier, isAcName, isImageId } from './appc-types.js';
import { parseJson } from './json.js';
import { assertShape, listOf, mapOf, optionalText } from './shape.js';

export interface AppcManifest {
  readonly acKind: 'ImageManifest';
  /** Semantic version of the specification that it was written by. */
  readonly acVersion: string;
  readonly name: AcIdentifier;
  /** No name twice. */
  readonly labels: readonly AppcLabel[];
  readonly app?: AppcApp;
  /** Base first: each may overwrite files of those before it. */
  readonly dependencies: readonly AppcDependency[];
  /** Absolute and clean; empty: all files are wanted. */
  readonly pathWhitelist: readonly string[];
  readonly annotations: readonly AppcLabel[];
}

export interface AppcLabel {
  readonly name: AcIdentifier;
  readonly value: string;
}

export interface AppcDependency {
  readonly imageName: AcIdentifier;
  readonly imageID?: AppcImageId;
  readonly labels: readonly AppcLabel[];
  /** Bytes of the image as it is fetched. */
  readonly size?: number;
}

/** How to run the image. */
export interface AppcApp {
  /** Program and arguments; empty: there is nothing to run. Without a slash the program is looked up in PATH. */
  readonly exec: readonly string[];
  /** A name, a number, or an absolute path whose owner is meant. The specification wants it; Mesos did without. */
  readonly user?: string;
  readonly group?: string;
  readonly supplementaryGIDs: readonly number[];
  readonly eventHandlers: readonly AppcEventHandler[];
  /** Absolute. */
  readonly workingDirectory?: string;
  /** No name twice. */
  readonly environment: readonly AppcEnvironmentVariable[];
  readonly mountPoints: readonly AppcMountPoint[];
  readonly ports: readonly AppcPort[];
  /** Values are whatever JSON the isolator of that name means by it. */
  readonly isolators: readonly AppcIsolator[];
  readonly userAnnotations: Readonly<Record<string, string>>;
  readonly userLabels: Readonly<Record<string, string>>;
}

export interface AppcEventHandler {
  readonly name: 'pre-start' | 'post-stop';
  readonly exec: readonly string[];
}

export interface AppcEnvironmentVariable {
  readonly name: string;
  readonly value: string;
}

export interface AppcMountPoint {
  readonly name: string;
  readonly path: string;
  readonly readOnly: boolean;
}

export interface AppcPort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
  readonly count: number;
  readonly socketActivated: boolean;
}

export interface AppcIsolator {
  readonly name: AcIdentifier;
  readonly value: unknown;
}

/** A whitelist may name every file of an image. */
export const MAX_APPC_MANIFEST_BYTES = 16 * 1024 * 1024;
export const MAX_APPC_DEPENDENCIES = 256;
const MAX_PATHS = 250_000;
const MAX_PATH = 4096;
const MAX_ITEMS = 4096;

/** Rejects with LARDER_MANIFEST_INVALID. `doing` begins its messages. */
export function parseAppcManifest(bytes: Uint8Array, doing = 'Appc manifest'): AppcManifest {
  const code = 'LARDER_MANIFEST_INVALID';
  const value = parseJson(bytes, { doing, maxBytes: MAX_APPC_MANIFEST_BYTES, code });
  const { app, ...rest } = assertShape(MANIFEST, value, doing, code);
  const dependencies = rest.dependencies.map(({ imageName, imageID, labels, size }) => ({
    imageName,
    labels,
    ...(imageID === null || imageID === undefined ? {} : { imageID }),
    // The specification's own writer leaves an unknown size out; others write 0.
    ...(size === null || size === undefined || size === 0 ? {} : { size }),
  }));
  return { ...rest, dependencies, ...(app === null || app === undefined ? {} : { app: appOf(app) }) };
}

/** The value of a label, or undefined. */
export function labelOf(labels: readonly AppcLabel[], name: string): string | undefined {
  return labels.find((label) => label.name === name)?.value;
}

/**
 * Why this is not the image that was asked for, in words; undefined when it is (discovery.md, "Validation"). Every label
 * that was asked for must be there with its value. One that was only filled in need not be, but the platform must not
 * be another; an image that names none runs anywhere.
 */
export function matchesRequest(manifest: AppcManifest, imageId: AppcImageId, request: AppcRequest): string | undefined {
  if (request.id !== undefined && request.id !== imageId) return `its id is ${imageId} instead of ${request.id}`;
  if (manifest.name !== request.name) return `its name is ${manifest.name} instead of ${request.name}`;
  for (const [name, wanted] of Object.entries(request.labels)) {
    const there = labelOf(manifest.labels, name);
    if (there === wanted) continue;
    const optional = request.defaulted.has(name);
    if (optional && (there === undefined || name === 'version')) continue;
    if (there === undefined) return `it has no label ${name}, which should be ${JSON.stringify(wanted)}`;
    return `its label ${name} is ${JSON.stringify(there.slice(0, 100))} instead of ${JSON.stringify(wanted)}`;
  }
  return undefined;
}

/**
 * What a dependency asks for (aci.md, "Dependency Matching"): for its parent's platform, where it names none itself.
 * Rejects with LARDER_MANIFEST_INVALID.
 */
export function dependencyRequest(dependency: AppcDependency, parent: AppcRequest): AppcRequest {
  const { imageName, imageID, labels } = dependency;
  const { os = '', arch = '' } = parent.labels;
  const text = `appc:${imageName}`;
  try {
    const given = new Map<string, string>(labels.map(({ name, value }) => [name, value]));
    return { ...completeRequest(imageName, given, imageID, { os, arch }, text), askedBy: parent.name };
  } catch (error) {
    throw new LarderError(
      'LARDER_MANIFEST_INVALID',
      `Appc manifest: ${parent.name}: its dependency ${imageName} cannot be asked for`,
      { cause: error },
    );
  }
}

/** schema/types/labels.go, `ValidOSArch`, which an implementation may extend: the last two linux ones are newer than it. */
const VALID_OS_ARCH: ReadonlyMap<string, readonly string[]> = new Map([
  [
    'linux',
    [
      'amd64',
      'i386',
      'aarch64',
      'aarch64_be',
      'armv6l',
      'armv7l',
      'armv7b',
      'ppc64',
      'ppc64le',
      's390x',
      'riscv64',
      'loong64',
    ],
  ],
  ['freebsd', ['amd64', 'i386', 'arm']],
  ['darwin', ['x86_64', 'i386']],
]);

/** semver.org, 2.0.0; at most 100 characters. */
const SEMVER =
  /^(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/;
const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z_0-9.-]*$/;
/** chown(2) reads the last one as "leave it". */
const MAX_ID = 2 ** 32 - 2;

const identifier = v.pipe(v.string(), v.guard(isAcIdentifier, 'not an AC identifier'));
const acName = v.pipe(
  v.string(),
  v.check((text) => isAcName(text), 'not an AC name'),
);
const textWithoutNul = v.pipe(
  v.string(),
  v.check((text) => !text.includes('\0'), 'holds a NUL byte'),
);
const flag = v.nullish(v.boolean(), false);

const LABEL = v.object({ name: identifier, value: v.string() });

const LABELS = v.pipe(
  listOf(LABEL),
  v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} labels`),
  v.check((labels) => labels.every(({ name }) => name !== 'name'), 'a label may not be called "name"'),
  v.check((all) => namesAreUnique(all), 'two labels have the same name'),
  v.check(
    (labels) => platformIsKnown(labelOf(labels, 'os'), labelOf(labels, 'arch')),
    'os and arch are no pair of the specification',
  ),
);

const EXEC = v.pipe(listOf(textWithoutNul), v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} arguments`));

const APP = v.object({
  exec: EXEC,
  user: optionalText,
  group: optionalText,
  supplementaryGIDs: v.pipe(
    listOf(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_ID))),
    v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} groups`),
  ),
  eventHandlers: v.pipe(
    listOf(v.object({ name: v.picklist(['pre-start', 'post-stop']), exec: EXEC })),
    v.maxLength(MAX_ITEMS),
    v.check((all) => namesAreUnique(all), 'two event handlers have the same name'),
  ),
  workingDirectory: v.pipe(
    optionalText,
    v.check((path) => path === '' || (path.startsWith('/') && !path.includes('\0')), 'not an absolute path'),
  ),
  environment: v.pipe(
    listOf(
      v.object({
        name: v.pipe(v.string(), v.regex(ENVIRONMENT_NAME, 'not the name of a variable')),
        value: textWithoutNul,
      }),
    ),
    v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} variables`),
    v.check((all) => namesAreUnique(all), 'two variables have the same name'),
  ),
  mountPoints: v.pipe(
    listOf(v.object({ name: acName, path: v.pipe(textWithoutNul, v.nonEmpty('the path is empty')), readOnly: flag })),
    v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} mount points`),
  ),
  ports: v.pipe(
    listOf(
      v.pipe(
        v.object({
          name: acName,
          protocol: v.string(),
          port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535)),
          count: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535)), 1),
          socketActivated: flag,
        }),
        v.check(({ port, count }) => port + count <= 65536, 'the range of ports ends above 65535'),
      ),
    ),
    v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} ports`),
  ),
  isolators: v.pipe(
    listOf(v.object({ name: identifier, value: v.unknown() })),
    v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} isolators`),
  ),
  userAnnotations: mapOf(v.string()),
  userLabels: mapOf(v.string()),
});

const MANIFEST = v.object({
  acKind: v.literal('ImageManifest'),
  acVersion: v.pipe(v.string(), v.maxLength(100), v.regex(SEMVER, 'not a semantic version')),
  name: identifier,
  labels: LABELS,
  app: v.nullish(APP),
  dependencies: v.pipe(
    listOf(
      v.object({
        imageName: identifier,
        imageID: v.nullish(v.pipe(v.string(), v.guard(isImageId, 'not sha512- and 128 lower-case hexadecimal digits'))),
        labels: LABELS,
        size: v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
      }),
    ),
    v.maxLength(MAX_APPC_DEPENDENCIES, `more than ${MAX_APPC_DEPENDENCIES} dependencies`),
  ),
  pathWhitelist: v.pipe(
    listOf(
      v.pipe(
        v.string(),
        v.maxLength(MAX_PATH, `a path of more than ${MAX_PATH} characters`),
        v.check(isWhitelistPath, 'not an absolute path without ".."'),
        v.transform(cleanPath),
      ),
    ),
    v.maxLength(MAX_PATHS, `more than ${MAX_PATHS} paths`),
  ),
  annotations: v.pipe(
    listOf(LABEL),
    v.maxLength(MAX_ITEMS, `more than ${MAX_ITEMS} annotations`),
    v.check((all) => namesAreUnique(all), 'two annotations have the same name'),
  ),
});

/** Without what is empty but could be left out. */
function appOf({ user, group, workingDirectory, ports, ...app }: v.InferOutput<typeof APP>): AppcApp {
  return {
    ...app,
    ports: ports.map((port) => ({ ...port, count: Math.max(port.count, 1) })),
    ...(user === '' ? {} : { user }),
    ...(group === '' ? {} : { group }),
    ...(workingDirectory === '' ? {} : { workingDirectory }),
  };
}

function namesAreUnique(items: readonly { readonly name: string }[]): boolean {
  return new Set(items.map(({ name }) => name)).size === items.length;
}

/** An architecture means something only together with an operating system. */
function platformIsKnown(os: string | undefined, arch: string | undefined): boolean {
  if (os === undefined) return true;
  const known = VALID_OS_ARCH.get(os);
  return known !== undefined && (arch === undefined || known.includes(arch));
}

function isWhitelistPath(path: string): boolean {
  return path.startsWith('/') && !path.includes('\0') && !path.split('/').includes('..');
}

/** `/a//./b/` is `/a/b`. */
function cleanPath(path: string): string {
  return `/${path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')}`;
}
