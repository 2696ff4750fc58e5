/** From an argument list to an exit status. Each command's code is loaded when it runs. */
import { CommanderError, Option, Command as Program } from 'commander';
import { optionName, SETTINGS, type SettingName } from '../config.js';
import { isLarderError, KIND_TABLE, LarderError } from '../errors.js';
import type { Command, CommandContext, CommandResult } from './command.js';
import {
  eventRenderer,
  type LogLevel,
  logLine,
  outliveReaders,
  PROGRESS_FORMS,
  renderError,
  renderResult,
} from './render.js';
import { Stores } from './stores.js';
import { version } from './version.js';

interface Described {
  readonly name: string;
  /** As commander writes arguments: `<reference>`, `[path]`, `<id...>`. */
  readonly args: string;
  readonly help: string;
  readonly options?: readonly (readonly [flags: string, help: string])[];
  /** Options end at the first argument: the rest belongs to the container's program. */
  readonly passThrough?: boolean;
  readonly load: () => Promise<Command>;
}

const REFRESH = ['--refresh', 'ask the registry even when the image is in the store'] as const;
const BACKEND = [
  '--backend <name>',
  'backend: erofs, overlay, copy or bind (default: the best that works here)',
] as const;

const REGISTRY_CONFIG = [
  '--registry-config <file>',
  'Docker config.json with credentials for this image alone',
] as const;

const COMMANDS: readonly Described[] = [
  {
    name: 'pull',
    args: '<reference...>',
    help: 'fetch images into the store',
    options: [
      REFRESH,
      ['--as-of <when>', 'take back what the name meant: a time, how long ago (7days), or a digest of its history'],
      REGISTRY_CONFIG,
    ],
    load: async () => (await import('./commands/pull.js')).pull,
  },
  {
    name: 'attach',
    args: '[reference-or-id]',
    help: 'show the progress of a pull that is under way, in whichever process',
    options: [['-l, --list', 'only list the pulls that are under way']],
    load: async () => (await import('./commands/attach.js')).attach,
  },
  {
    name: 'plan',
    args: '<reference>',
    help: 'show what a pull would fetch, from where, and what it would take of the disk',
    options: [REFRESH, REGISTRY_CONFIG],
    load: async () => (await import('./commands/plan.js')).plan,
  },
  {
    name: 'history',
    args: '<reference>',
    help: 'show what an image name meant, when, and what of it is left',
    load: async () => (await import('./commands/history.js')).history,
  },
  {
    name: 'rollback',
    args: '<reference> [digest]',
    help: 'let an image name mean again what it meant before, or this digest of its history',
    options: [REGISTRY_CONFIG],
    load: async () => (await import('./commands/pull.js')).rollback,
  },
  {
    name: 'images',
    args: '',
    help: 'list the images in the store',
    load: async () => (await import('./commands/images.js')).images,
  },
  {
    name: 'inspect',
    args: '<reference>',
    help: 'show what an image is made of and how it asks to be run',
    load: async () => (await import('./commands/inspect.js')).inspect,
  },
  {
    name: 'ls',
    args: '<reference> [path]',
    help: 'list files of an image, without mounting it',
    options: [
      ['-l, --long', 'with modes, owners, sizes and times'],
      ['-R, --recursive', 'with everything below'],
    ],
    load: async () => (await import('./commands/ls.js')).ls,
  },
  {
    name: 'cat',
    args: '<reference> <path>',
    help: 'print a file of an image, without mounting it',
    load: async () => (await import('./commands/cat.js')).cat,
  },
  {
    name: 'export',
    args: '<reference> <target>',
    help: 'write an image to docker-archive:FILE[:NAME:TAG] or oci-archive:FILE[:NAME]; a FILE of - is standard output',
    options: [REFRESH, REGISTRY_CONFIG],
    load: async () => (await import('./commands/export.js')).exportImage,
  },
  {
    name: 'provision',
    args: '<reference>',
    help: "make an image a container's root filesystem and print its path",
    options: [
      ['--id <id>', 'name of the new container (required)'],
      BACKEND,
      REFRESH,
      REGISTRY_CONFIG,
      ['--dev', "let the image's device nodes work"],
      ['--nosuid', 'ignore set-user-ID bits and file capabilities'],
      ['--noexec', 'let nothing be executed'],
      ['--volume <name=image[,rw]>', 'another image in the container, read-only unless rw is added (repeatable)'],
    ],
    load: async () => (await import('./commands/provision.js')).provision,
  },
  {
    name: 'containers',
    args: '',
    help: 'list the provisioned containers',
    load: async () => (await import('./commands/containers.js')).containers,
  },
  {
    name: 'destroy',
    args: '<id...>',
    help: "take containers' root filesystems down",
    load: async () => (await import('./commands/destroy.js')).destroy,
  },
  {
    name: 'recover',
    args: '[id...]',
    help: 'bring the store in line with the disk, and mount containers again after a reboot',
    options: [['--destroy-unknown', "destroy this owner's containers that are not named"]],
    load: async () => (await import('./commands/recover.js')).recover,
  },
  {
    name: 'run',
    args: '<reference> [command...]',
    help: 'run a command in a new container of an image, then destroy it',
    passThrough: true,
    options: [
      ['--id <id>', 'name of the container (default: a random one)'],
      BACKEND,
      REFRESH,
      REGISTRY_CONFIG,
      ['-e, --env <name=value>', 'set a variable; NAME alone takes it from here (repeatable)'],
      ['-u, --user <user[:group]>', "run as this user instead of the image's"],
      ['-w, --workdir <dir>', 'run in this directory'],
      ['--entrypoint <program>', "run this program instead of the image's entrypoint"],
      ['--read-only', 'mount the root filesystem read-only'],
      ['--volume <path=image[,rw]>', 'show another image at this path, read-only unless rw is added (repeatable)'],
      ['--runtime <path>', 'OCI runtime to use (default: crun or runc)'],
    ],
    load: async () => (await import('./commands/run.js')).run,
  },
  {
    name: 'remove',
    args: '<reference...>',
    help: 'forget images and free what only they used',
    load: async () => (await import('./commands/remove.js')).remove,
  },
  {
    name: 'prune',
    args: '',
    help: 'forget all images that no container uses, and free their space',
    options: [
      ['--exclude <reference>', 'keep this image (repeatable)'],
      ['--all', 'forget pinned images, too, and what is made from layers and used by no container'],
      ['--dry-run', 'only say what would go'],
    ],
    load: async () => (await import('./commands/remove.js')).prune,
  },
  {
    name: 'df',
    args: '',
    help: 'show what each image holds alone and shares, and what the store weighs',
    options: [['--containers', 'also measure what containers wrote']],
    load: async () => (await import('./commands/df.js')).df,
  },
  {
    name: 'why',
    args: '<digest-or-path>',
    help: 'show what holds a layer, document or image ID in the store',
    load: async () => (await import('./commands/why.js')).why,
  },
  {
    name: 'pin',
    args: '<reference...>',
    help: 'keep images whatever prune and garbage collection say',
    load: async () => (await import('./commands/pin.js')).pin,
  },
  {
    name: 'unpin',
    args: '<reference...>',
    help: 'let pinned images go again',
    load: async () => (await import('./commands/pin.js')).unpin,
  },
  {
    name: 'gc',
    args: '',
    help: 'free space where image_gc_config asks for it, least recently used images first',
    options: [['--dry-run', 'only say what would go and why']],
    load: async () => (await import('./commands/gc.js')).gc,
  },
  {
    name: 'check',
    args: '',
    help: 'verify the store',
    options: [['--deep', 'read every byte']],
    load: async () => (await import('./commands/check.js')).check,
  },
  {
    name: 'daemon',
    args: '',
    help: 'serve the store at a Unix socket, for root and this user',
    options: [
      ['--metrics <port>', 'serve /metrics and /healthz at this port of the loopback, too: PORT or 127.0.0.1:PORT'],
      ['--grace <seconds>', 'when told to end, let what runs finish for so long (default: 3)'],
    ],
    load: async () => (await import('./commands/daemon.js')).daemon,
  },
  {
    name: 'serve',
    args: '',
    help: 'serve the store as a registry to docker, podman, containerd and skopeo of this machine',
    options: [
      ['--listen <host:port>', 'where; an address of the loopback (default: 127.0.0.1:5050)'],
      ['--upstream <host>', 'stand for this registry, and no others but those named so (repeatable; default: all)'],
      ['--share-private', 'give everybody who can connect all that is in the store and that its logins reach'],
      ['--exposed', 'let others than this machine reach it, in plain HTTP; needs --upstream'],
    ],
    load: async () => (await import('./commands/serve.js')).serve,
  },
  {
    name: 'repair',
    args: '[reference...]',
    help: 'fetch again what is broken, of these images or of all',
    load: async () => (await import('./commands/repair.js')).repair,
  },
  {
    name: 'info',
    args: '',
    help: 'show the store and what this machine can do',
    load: async () => (await import('./commands/info.js')).info,
  },
  {
    name: 'doctor',
    args: '',
    help: 'try out whether the kernel can be trusted with images (EROFS, overlayfs)',
    load: async () => (await import('./commands/doctor.js')).doctor,
  },
];

const REPEATABLE = new Set(['env', 'exclude', 'upstream', 'volume']);
/** `run` leaves the statuses of errors to the program. */
const RUN_FAILED = 125;
const USAGE = 2;

/** Runs a command line (without `node` and the script) and answers its exit status. Never exits the process. */
export async function main(argv: readonly string[]): Promise<number> {
  let status = 0;
  outliveReaders();
  const program = build(argv, async (described, args, options) => {
    status = await execute(described, args, options);
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    if (wantsJson(argv)) await renderError(usageError(error), { json: true, debug: false });
    return usageStatus(argv);
  }
}

/** Also of a line that is wrong, of which nobody knows what is an option and what an argument. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? argv.length : end).includes('--json');
}

function usageError({ message }: CommanderError): LarderError {
  return new LarderError('LARDER_REQUEST_INVALID', `read the command line: ${message.replace(/^error: /, '')}`, {
    hint: '`larder --help` lists commands and options',
  });
}

type Run = (described: Described, args: readonly string[], options: Readonly<Record<string, unknown>>) => Promise<void>;

/** Only a command that is named in the arguments gets its options: making them all costs more than most commands do. */
function build(argv: readonly string[], run: Run): Program {
  const program = new Program('larder')
    .description('Image store and root-filesystem provisioner: an image reference in, a verified root filesystem out.')
    .version(version(), '-V, --version')
    .enablePositionalOptions()
    .showHelpAfterError('(`larder --help` lists commands and options)')
    .exitOverride();
  // Settled before commands are made: each takes it over.
  if (wantsJson(argv)) program.configureOutput({ writeErr: () => {} });
  addGlobals(program, false);
  for (const described of COMMANDS) {
    const command = program
      .command(`${described.name} ${described.args}`.trim())
      .description(described.help)
      .exitOverride();
    if (!argv.includes(described.name)) continue;
    if (described.passThrough === true) command.passThroughOptions();
    for (const [flags, help] of described.options ?? []) command.addOption(optionOf(flags, help));
    addGlobals(command, true);
    command.action(async () => run(described, withoutSeparator(command.args), command.optsWithGlobals()));
  }
  return program;
}

/** With options that end at the first argument, commander hands on the `--` after it. */
function withoutSeparator([first, second, ...rest]: readonly string[]): readonly string[] {
  return [first, ...(second === '--' ? [] : [second]), ...rest].filter((arg) => arg !== undefined);
}

/** Settings stand before or after the command's name; the help of each command lists only its own. */
function addGlobals(command: Program, hidden: boolean): void {
  const add = (option: Option): void => {
    if (!command.options.some((known) => known.long === option.long))
      command.addOption(option.hideHelp(hidden || option.negate));
  };
  for (const [name, setting] of Object.entries(SETTINGS)) {
    const option = optionName(name as SettingName);
    // With a value of its own it would take the image's name for it.
    if (setting.kind !== 'bool') add(new Option(`${option} <${setting.value}>`, setting.help));
    else for (const flag of [option, option.replace('--', '--no-')]) add(new Option(flag, setting.help));
  }
  add(new Option('--json', 'print results and errors as JSON'));
  add(new Option('--progress <form>', 'how work is told on standard error (default: auto)').choices(PROGRESS_FORMS));
  add(new Option('--debug', 'say more, and show where errors come from'));
}

function optionOf(flags: string, help: string): Option {
  const option = new Option(flags, help);
  return REPEATABLE.has(option.attributeName())
    ? option.argParser((value: string, all: string[] = []) => [...all, value])
    : option;
}

async function execute(
  described: Described,
  args: readonly string[],
  options: Readonly<Record<string, unknown>>,
): Promise<number> {
  const json = options['json'] === true;
  let level: LogLevel;
  try {
    level = logLevel(options['debug'] === true);
  } catch (error) {
    await renderError(error, { json, debug: false });
    return statusOf(error, described);
  }
  const form = PROGRESS_FORMS.find((one) => one === options['progress']);
  const renderer = eventRenderer(level, json, form);
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(signal);
  // Also for `run`, which hands signals on to its program while there is one: before and after, it has to tidy up.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const stores = new Stores(options, renderer.onEvent);
  try {
    const command = await described.load();
    const context: CommandContext = {
      open: () => stores.any(),
      larder: () => stores.here(),
      flags: () => stores.flags(),
      onEvent: renderer.onEvent,
      signal: stop.signal,
      quiet: renderer.stop,
      log: (line) => logLine(line, json),
    };
    const result: CommandResult = await command(context, args, options);
    renderer.stop();
    await renderResult(result, json);
    return result.exitCode ?? 0;
  } catch (error) {
    renderer.stop();
    await renderError(error, { json, debug: level === 'debug' });
    return statusOf(error, described);
  } finally {
    await stores.close();
  }
}

function statusOf(error: unknown, described: Described): number {
  if (!isLarderError(error)) return described.name === 'run' ? RUN_FAILED : KIND_TABLE.internal.exit;
  return described.name === 'run' && error.kind !== 'aborted' ? RUN_FAILED : error.exitCode;
}

function logLevel(debug: boolean): LogLevel {
  if (debug) return 'debug';
  const wanted = process.env['LARDER_LOG'] ?? 'info';
  const known: readonly LogLevel[] = ['error', 'warn', 'info', 'debug'];
  const level = known.find((name) => name === wanted);
  if (level !== undefined) return level;
  throw new LarderError(
    'LARDER_FLAGS_INVALID',
    `LARDER_LOG: ${JSON.stringify(wanted)}: expected one of ${known.join(', ')}`,
  );
}

/** Settings with their values may stand before the command's name. */
function usageStatus(argv: readonly string[]): number {
  return argv.find((arg) => COMMANDS.some(({ name }) => name === arg)) === 'run' ? RUN_FAILED : USAGE;
}
