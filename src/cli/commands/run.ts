import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { BackendName } from '../../backends/backend.js';
import { errnoOf, LarderError, printable, systemError } from '../../errors.js';
import type { LazyImageFs, PulledImage } from '../../pulled-image.js';
import { commandOf, parseRuntimeUser } from '../../spec/runtime.js';
import { type BundleSpec, type ProcessSpec, runtimeSpec } from '../bundle.js';
import { type Command, type CommandContext, listOption, platformOption, textOption } from '../command.js';
import { registryConfigOption } from '../registry-config.js';
import { resolveUser } from '../user.js';
import { type VolumeOption, volumeOptions } from '../volume.js';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** What the host knows of the network that the container shares. */
const HOST_FILES = ['/etc/resolv.conf', '/etc/hosts'];
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

type Options = Readonly<Record<string, unknown>>;

/**
 * `larder run REF [-- CMD…]`: provisions, runs, destroys. Ends with the program's status, with 126 or 127 where the
 * image has no such program, and (main.ts) with 125 where larder itself failed.
 */
export const run: Command = async (context, [reference = '', ...command], options) => {
  if (process.getuid?.() !== 0) {
    throw new LarderError('LARDER_PERMISSION', `run ${reference}: starting a container needs root`, {
      hint: 'run as root; without it, `larder provision --backend copy` gives you the files',
    });
  }
  const runtime = findRuntime(textOption(options, 'runtime'));
  const wanted = volumesOf(options);
  const store = await context.larder();
  const id = textOption(options, 'id') ?? `run-${randomBytes(6).toString('hex')}`;
  await using image = await store.pull(reference, {
    ...pullRequest(context, options),
    ...(await registryConfigOption(options)),
  });
  const program = await processOf(image, command, options);
  const missing = await findProgram(image.fs, program);
  if (missing !== undefined) return missing;
  const backend = textOption(options, 'backend');
  const { rootfs, volumes, warnings } = await store.provision(reference, {
    id,
    volumes: wanted.map(({ image, readOnly }, i) => ({ name: `volume-${i}`, image, readOnly })),
    onEvent: context.onEvent,
    signal: context.signal,
    ...(backend === undefined ? {} : { backend: backend as BackendName }),
    ...platformOption(options),
  });
  for (const message of warnings) context.onEvent({ type: 'warning', message });
  try {
    context.quiet();
    return {
      exitCode: await runBundle(
        {
          runtime,
          id: runtimeName(id),
          rootfs,
          image,
          volumes: volumes.map(({ rootfs: source, readOnly }, i) => ({
            source,
            readOnly,
            path: wanted[i]?.place ?? '',
          })),
        },
        program,
        options,
      ),
    };
  } finally {
    await store.destroy(id);
  }
};

/** What the runtime mounts itself; in its place an image would have the last word about the kernel's files. */
const KERNEL_PLACE = /^\/+(?:proc|sys|dev)(?:\/|$)/;

/** Rejects before anything is fetched. */
function volumesOf(options: Options): VolumeOption[] {
  const volumes = volumeOptions(options);
  for (const { place } of volumes) {
    const parts = place.split('/').filter((part) => part !== '' && part !== '.');
    const why = !place.startsWith('/')
      ? 'not an absolute path'
      : parts.length === 0 || parts.includes('..')
        ? 'not a path below /'
        : KERNEL_PLACE.test(`/${parts.join('/')}`)
          ? 'the runtime has its own /proc, /sys and /dev'
          : undefined;
    if (why !== undefined)
      throw new LarderError('LARDER_REQUEST_INVALID', `run: --volume ${JSON.stringify(place)}: ${why}`);
  }
  return volumes;
}

/** Runtimes take no slash in a container's name. */
function runtimeName(id: string): string {
  return id.replaceAll('/', '+');
}

function pullRequest({ onEvent, signal }: CommandContext, options: Options): { cached: boolean; platform?: string } {
  return { ...{ onEvent, signal }, cached: options['refresh'] !== true, ...platformOption(options) };
}

async function processOf(image: PulledImage, command: readonly string[], options: Options): Promise<ProcessSpec> {
  const { runtime } = image;
  const user = textOption(options, 'user');
  const { home, ...ids } = await resolveUser(
    user === undefined ? (runtime?.user ?? { user: 0 }) : parseRuntimeUser(user, () => badUser(user)),
    image.fs,
  );
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  return {
    args: argumentsOf(image, command, options),
    env: environment(runtime?.env ?? [], listOption(options, 'env'), home, terminal),
    cwd: textOption(options, 'workdir') ?? runtime?.cwd ?? '/',
    user: ids,
    terminal,
  };
}

/**
 * What the caller gives behind the image's name is arguments for the entrypoint, and a program where there is none;
 * `--entrypoint` takes the place of the image's entrypoint and command, also when it is empty.
 */
function argumentsOf(image: PulledImage, command: readonly string[], options: Options): readonly string[] {
  const given = textOption(options, 'entrypoint');
  const own = [...(given === undefined || given === '' ? [] : [given]), ...command];
  const [program] = own;
  const runtime = given === undefined ? image.runtime : undefined;
  const appends = runtime !== undefined && runtime.entrypoint.length > 0;
  const value = appends || program === undefined ? {} : { value: program };
  return commandOf(runtime, { shell: false, ...value, arguments: own }, `run ${image.reference}`).argv;
}

function badUser(user: string): LarderError {
  return new LarderError(
    'LARDER_REQUEST_INVALID',
    `run: --user ${JSON.stringify(user)}: not user[:group], names or ids`,
  );
}

/** The image's variables, then the caller's; `NAME` alone takes the host's value. */
function environment(image: readonly string[], given: readonly string[], home: string, terminal: boolean): string[] {
  const merged = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOME', home],
    ...(terminal ? [['TERM', process.env['TERM'] ?? 'xterm'] as const] : []),
  ]);
  for (const entry of [...image, ...given]) {
    const [name = '', ...rest] = entry.split('=');
    const value = rest.length > 0 ? rest.join('=') : process.env[name];
    if (name !== '' && value !== undefined) merged.set(name, value);
  }
  return [...merged].map(([name, value]) => `${name}=${value}`);
}

/** Looks the program up in the image first: runtimes say less clearly that it is not there. */
async function findProgram(
  fs: LazyImageFs,
  { args: [program = ''], env, cwd }: ProcessSpec,
): Promise<{ exitCode: number; text: string } | undefined> {
  const path = env.find((entry) => entry.startsWith('PATH='))?.slice(5) ?? DEFAULT_PATH;
  const places = program.includes('/')
    ? [join(cwd, program)]
    : path.split(delimiter).map((directory) => join(directory, program));
  let found: string | undefined;
  for (const place of program.startsWith('/') ? [program] : places) {
    if (!(await fs.exists(place))) continue;
    const stat = await fs.stat(place);
    if (stat.type === 'file' && (stat.mode & 0o111) !== 0) return undefined;
    found ??= place;
  }
  if (found !== undefined)
    return { exitCode: NOT_EXECUTABLE, text: printable(`larder: run: ${found}: not an executable file in the image`) };
  return { exitCode: NOT_FOUND, text: printable(`larder: run: ${program}: not found in the image`) };
}

interface Container {
  /** The OCI runtime's program. */
  readonly runtime: string;
  readonly id: string;
  readonly rootfs: string;
  readonly image: PulledImage;
  readonly volumes: BundleSpec['volumes'];
}

async function runBundle(
  { runtime, id, rootfs, image, volumes }: Container,
  process: ProcessSpec,
  options: Options,
): Promise<number> {
  const directory = dirname(rootfs);
  const bundle = join(directory, 'bundle');
  await mkdir(bundle, { mode: 0o700 });
  const spec = runtimeSpec({
    rootfs,
    hostname: id.replaceAll('+', '-').slice(0, 63),
    process,
    readOnly: options['readOnly'] === true,
    hostFiles: HOST_FILES.filter((path) => existsSync(path)),
    cgroup2: isCgroup2(),
    runtime: image.runtime,
    volumes,
  });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
  const log = join(bundle, 'log');
  // A state directory of its own: no other container of the host can have the same name.
  const globals = [
    '--root',
    join(directory, 'runtime'),
    '--log',
    log,
    '--log-format',
    'json',
    ...withoutCgroups(runtime),
  ];
  const status = await foreground(runtime, [...globals, 'run', '--bundle', bundle, id]);
  await foreground(runtime, [...globals, 'delete', '--force', id], 'ignore');
  if (status !== 0) await refuseRuntimeFailure(runtime, log);
  return status;
}

/** The program's standard streams are ours; signals that reach us go on to it. */
async function foreground(
  runtime: string,
  args: readonly string[],
  stdio: 'inherit' | 'ignore' = 'inherit',
): Promise<number> {
  const child = spawn(runtime, args, { stdio });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
  const forward = (signal: NodeJS.Signals): void => forwardSignal(child, signal);
  for (const signal of signals) process.on(signal, forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.on('error', (error) => reject(systemError(`run: start ${runtime}`, error)));
      child.on('exit', (code, signal) => resolve(code ?? 128 + osConstants.signals[signal ?? 'SIGKILL']));
    });
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}

/** A terminal's own signals have reached the whole process group already. */
function forwardSignal(child: ChildProcess, signal: NodeJS.Signals): void {
  if (process.stdin.isTTY === true && signal === 'SIGINT') return;
  child.kill(signal);
}

/** The runtime writes its own failures to its log and nothing of the program's. */
async function refuseRuntimeFailure(runtime: string, log: string): Promise<void> {
  const errors = (await readLog(log)).filter((line) => line.level === 'error');
  const last = errors.at(-1);
  if (last === undefined) return;
  throw new LarderError('LARDER_BACKEND_UNAVAILABLE', `run: ${runtime}: ${last.msg ?? 'it failed'}`, {
    hint: 'try another runtime with --runtime',
  });
}

async function readLog(path: string): Promise<{ level?: string; msg?: string }[]> {
  try {
    const text = await readFile(path, 'utf8');
    return text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { level?: string; msg?: string });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw systemError(`run: read ${path}`, error);
  }
}

/** crun first where it works: before 1.9 or so it refuses hosts with cgroup v1. */
function findRuntime(wanted: string | undefined): string {
  const candidates = wanted !== undefined ? [wanted] : isCgroup2() ? ['crun', 'runc'] : ['runc', 'crun'];
  for (const name of candidates) {
    const places = name.includes('/')
      ? [name]
      : (process.env['PATH'] ?? DEFAULT_PATH).split(delimiter).map((d) => join(d, name));
    const found = places.find(isExecutable);
    if (found !== undefined) return found;
  }
  throw new LarderError(
    'LARDER_BACKEND_UNAVAILABLE',
    `run: found neither ${candidates.join(' nor ')} on this machine`,
    {
      hint: 'install runc or crun, or name a runtime with --runtime',
    },
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isCgroup2(): boolean {
  return existsSync('/sys/fs/cgroup/cgroup.controllers');
}

/** Both runtimes can do without cgroups, each in its own words. */
function withoutCgroups(runtime: string): string[] {
  if (runtime.endsWith('crun')) return ['--cgroup-manager', 'disabled'];
  return [];
}
