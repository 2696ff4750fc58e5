import { LarderError } from '../errors.js';
import type { ImageConfig } from './image-config.js';

/**
 * How an image asks to be run, the same for both types, with the defaults that every runtime fills in. Data for the
 * caller: larder itself obeys it only in `run`.
 */
export interface RuntimeConfig {
  /** Of an Appc image the program of `exec`; `cmd` is what follows it there. See {@link commandOf} for how they combine. */
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`; what has no `=` in a Docker image's list is left out, as Mesos does. */
  readonly env: readonly string[];
  /** Absolute. */
  readonly cwd: string;
  readonly user: RuntimeUser;
  readonly stopSignal: string;
  /** What cannot be understood as a port is left out: images have such things as `$PORT/tcp`. */
  readonly exposedPorts: readonly ExposedPort[];
  /** Paths where the image expects a volume. */
  readonly volumes: readonly string[];
  readonly healthcheck?: RuntimeHealthcheck;
  /** Docker's labels, Appc's annotations. */
  readonly labels: Readonly<Record<string, string>>;
}

/** Ids as numbers, or names that the image's own passwd and group resolve; an absolute path means that file's owner or group. */
export interface RuntimeUser {
  readonly user: number | string;
  readonly group?: number | string;
}

export interface ExposedPort {
  readonly port: number;
  /** `tcp`, `udp`, `sctp` */
  readonly protocol: string;
}

/** Zero: the runtime's own default. */
export interface RuntimeHealthcheck {
  /** `['NONE']`, `['CMD', …]` or `['CMD-SHELL', line]` */
  readonly test: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly retries: number;
}

type DockerInput = Pick<ImageConfig, 'config'>;

/** Rejects with LARDER_CONFIG_INVALID. */
export function runtimeConfigOf({ config }: DockerInput, doing = 'image config'): RuntimeConfig {
  const bad = refusal(doing);
  const health = config.Healthcheck;
  return {
    entrypoint: config.Entrypoint ?? [],
    cmd: config.Cmd ?? [],
    env: checkEnv(config.Env.filter(isVariable), (entry) => bad('Env', entry)),
    cwd: absolute(config.WorkingDir, () => bad('WorkingDir', config.WorkingDir)),
    user: parseRuntimeUser(config.User, () => bad('User', config.User)),
    stopSignal: config.StopSignal === '' ? 'SIGTERM' : config.StopSignal,
    exposedPorts: config.ExposedPorts.flatMap(dockerPort),
    volumes: config.Volumes,
    ...(health === undefined || health.Test.length === 0
      ? {}
      : {
          healthcheck: {
            test: health.Test,
            intervalMs: health.Interval / 1e6,
            timeoutMs: health.Timeout / 1e6,
            startPeriodMs: health.StartPeriod / 1e6,
            retries: health.Retries,
          },
        }),
    labels: config.Labels,
  };
}

/** What an Appc manifest says of running, as far as it is handed on. */
export interface AppcRunInput {
  readonly app?: {
    readonly exec: readonly string[];
    readonly user?: string;
    readonly group?: string;
    readonly workingDirectory?: string;
    readonly environment: readonly { readonly name: string; readonly value: string }[];
    readonly mountPoints: readonly { readonly path: string }[];
    readonly ports: readonly { readonly port: number; readonly protocol: string; readonly count?: number }[];
  };
  readonly annotations: readonly { readonly name: string; readonly value: string }[];
}

/** More ports than this one entry's `count` can mean anything for. */
const MAX_PORTS = 1024;

/** Undefined for an image without `app`, which is there for others to depend on. Rejects with LARDER_CONFIG_INVALID. */
export function runtimeOfAppc({ app, annotations }: AppcRunInput, doing = 'Appc image'): RuntimeConfig | undefined {
  if (app === undefined) return undefined;
  const bad = refusal(doing);
  const id = (text: string, what: string): number | string =>
    text.startsWith('/') && !text.includes('\0') ? text : parseId(text, () => bad(what, text));
  const { user = '', group = '', workingDirectory = '' } = app;
  const [program, ...rest] = app.exec;
  return {
    entrypoint: program === undefined ? [] : [program],
    cmd: rest,
    env: checkEnv(
      app.environment.map(({ name, value }) => `${name}=${value}`),
      (entry) => bad('environment', entry),
    ),
    cwd: absolute(workingDirectory, () => bad('workingDirectory', workingDirectory)),
    user: {
      user: user === '' ? 0 : id(user, 'user'),
      ...(group === '' ? {} : { group: id(group, 'group') }),
    },
    stopSignal: 'SIGTERM',
    exposedPorts: app.ports.flatMap(({ port, protocol, count = 1 }) =>
      Array.from({ length: Math.min(count, MAX_PORTS, 65536 - port) }, (_, i) => ({ port: port + i, protocol })),
    ),
    volumes: app.mountPoints.map(({ path }) => path),
    labels: Object.fromEntries(annotations.map(({ name, value }) => [name, value])),
  };
}

/** Mesos's `CommandInfo`: what a caller wants run. */
export interface CommandInfo {
  /** True: `value` is a line for `/bin/sh`. Default true, as in Mesos. */
  readonly shell?: boolean;
  readonly value?: string;
  readonly arguments?: readonly string[];
}

export interface ResolvedCommand {
  /** A path, or a name to look up in PATH. */
  readonly program: string;
  /** With `argv[0]`. */
  readonly argv: readonly string[];
}

/**
 * What is run when `command` is wanted of an image: the caller's own program, or the image's with the caller's
 * arguments in the place of its own. `argv[0]` of a program of the caller's is the caller's, too.
 * Rejects with LARDER_REQUEST_INVALID where neither names a program.
 */
export function commandOf(
  runtime: Pick<RuntimeConfig, 'entrypoint' | 'cmd'> | undefined,
  command: CommandInfo,
  doing = 'command',
): ResolvedCommand {
  const { shell = true, value, arguments: args = [] } = command;
  if (shell) {
    if (value === undefined || value === '') throw nothingToRun(`${doing}: a shell needs a command line`);
    return { program: 'sh', argv: ['sh', '-c', value] };
  }
  if (value !== undefined && value !== '') return { program: value, argv: args.length > 0 ? args : [value] };
  const { entrypoint, cmd } = runtime ?? { entrypoint: [], cmd: [] };
  const head = entrypoint.length > 0 ? entrypoint : cmd.slice(0, 1);
  const tail = args.length > 0 ? args : entrypoint.length > 0 ? cmd : cmd.slice(1);
  const [program] = head;
  if (program === undefined) throw nothingToRun(`${doing}: the image names no command`);
  return { program, argv: [...head, ...tail] };
}

function nothingToRun(message: string): LarderError {
  return new LarderError('LARDER_REQUEST_INVALID', message, { hint: 'give one after --' });
}

/** Linux reserves the last id: chown(2) reads -1 as "leave it". */
const MAX_ID = 2 ** 32 - 2;
const NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,254}\$?$/;

/**
 * `user[:group]`, each a decimal id or a name. What looks like a number is one, and is refused when it is no id: a
 * lookup as a name, or a wrap to 0, has made root of such users (CVE-2024-40635, CVE-2016-3697).
 */
export function parseRuntimeUser(text: string, bad: () => LarderError): RuntimeUser {
  if (text === '') return { user: 0 };
  const [user = '', group, ...rest] = text.split(':');
  if (rest.length > 0) throw bad();
  return { user: parseId(user, bad), ...(group === undefined || group === '' ? {} : { group: parseId(group, bad) }) };
}

function parseId(text: string, bad: () => LarderError): number | string {
  if (/^\d{1,10}$/.test(text) && Number(text) <= MAX_ID) return Number(text);
  if (NAME.test(text)) return text;
  throw bad();
}

function refusal(doing: string): (what: string, text: string) => LarderError {
  return (what, text) =>
    new LarderError('LARDER_CONFIG_INVALID', `${doing}: ${what} ${JSON.stringify(text.slice(0, 100))} is not valid`);
}

function checkEnv(entries: readonly string[], bad: (entry: string) => LarderError): readonly string[] {
  for (const entry of entries) if (!/^[^=\0]+=[^\0]*$/.test(entry)) throw bad(entry);
  return entries;
}

function absolute(directory: string, bad: () => LarderError): string {
  if (directory.includes('\0')) throw bad();
  return directory.startsWith('/') ? directory : `/${directory}`;
}

function isVariable(entry: string): boolean {
  return entry.includes('=');
}

/** `80/tcp`, `80` */
function dockerPort(text: string): ExposedPort[] {
  const [, digits = '', protocol = 'tcp'] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? [];
  const port = Number(digits);
  return digits === '' || port < 1 || port > 65535 ? [] : [{ port, protocol: protocol.toLowerCase() }];
}
