/**
 * An OCI runtime bundle (runtime-spec 1.0, config.json) for one process in a provisioned root filesystem: private
 * pid, mount, ipc and uts namespaces, the host's network, few capabilities, and no resource limits, so that it runs where no cgroup controller can be used. Pure but for `hostFiles`, which the caller gives.
 */
import type { RuntimeConfig } from '../spec/runtime.js';

export interface ProcessSpec {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: ResolvedUser;
  readonly terminal: boolean;
}

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export interface BundleSpec {
  readonly rootfs: string;
  readonly hostname: string;
  readonly process: ProcessSpec;
  readonly readOnly: boolean;
  /** Files of the host that the container sees read-only at the same path, such as /etc/resolv.conf. */
  readonly hostFiles: readonly string[];
  /** Runs on cgroup v2, where the cgroup file system can be mounted in a cgroup namespace. */
  readonly cgroup2: boolean;
  /** How the image asks to be run, for what the runtime or its hooks make of it. */
  readonly runtime: RuntimeConfig | undefined;
  /** Root filesystems of other images, and where the container sees them. */
  readonly volumes: readonly { readonly source: string; readonly path: string; readonly readOnly: boolean }[];
}

/**
 * Podman's defaults. Not CAP_MKNOD: without a device cgroup it would open the host's disks; not CAP_NET_RAW: the
 * network is the host's.
 */
const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

const MASKED = ['acpi', 'asound', 'kcore', 'keys', 'latency_stats', 'timer_list', 'timer_stats', 'sched_debug', 'scsi'];
const READ_ONLY = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'];

/** The bundle's config.json as an object. */
export function runtimeSpec(spec: BundleSpec): Record<string, unknown> {
  return {
    ociVersion: '1.0.2',
    process: processOf(spec.process),
    root: { path: spec.rootfs, readonly: spec.readOnly },
    hostname: spec.hostname,
    mounts: mountsOf(spec),
    annotations: annotationsOf(spec.runtime),
    linux: {
      namespaces: ['pid', 'mount', 'ipc', 'uts', ...(spec.cgroup2 ? ['cgroup'] : [])].map((type) => ({ type })),
      maskedPaths: [...MASKED.map((name) => `/proc/${name}`), '/sys/firmware', '/sys/devices/virtual/powercap'],
      readonlyPaths: READ_ONLY.map((name) => `/proc/${name}`),
      resources: { devices: [] },
    },
  };
}

function processOf(process: ProcessSpec): Record<string, unknown> {
  // Without CAP_* ambient sets a process that is not root gets only what its executable's file capabilities allow.
  const sets = ['bounding', 'permitted', 'effective'].map((name) => [name, CAPABILITIES]);
  return {
    terminal: process.terminal,
    user: process.user,
    args: process.args,
    env: process.env,
    cwd: process.cwd,
    capabilities: Object.fromEntries(sets),
    noNewPrivileges: false,
  };
}

/** Runtimes do as annotations with names of domains say (crun: `run.oci.hooks.stderr`), and an image shall not steer them. */
const INERT_LABEL = /^(?:org\.opencontainers\.image\.|[^.]*$)/;

/** image-spec `conversion.md`: labels that nobody acts on as they are, and larder's word for what has no place of its own. */
function annotationsOf(runtime: RuntimeConfig | undefined): Record<string, string> {
  if (runtime === undefined) return {};
  const ports = runtime.exposedPorts.map(({ port, protocol }) => `${port}/${protocol}`);
  return {
    'org.opencontainers.image.stopSignal': runtime.stopSignal,
    ...(ports.length === 0 ? {} : { 'org.opencontainers.image.exposedPorts': ports.join(',') }),
    ...Object.fromEntries(Object.entries(runtime.labels).filter(([name]) => INERT_LABEL.test(name))),
  };
}

function mountsOf(spec: BundleSpec): Record<string, unknown>[] {
  const mount = (destination: string, type: string, source: string, ...options: string[]): Record<string, unknown> => ({
    destination,
    type,
    source,
    options,
  });
  return [
    mount('/proc', 'proc', 'proc', 'nosuid', 'noexec', 'nodev'),
    mount('/dev', 'tmpfs', 'tmpfs', 'nosuid', 'strictatime', 'mode=755', 'size=65536k'),
    mount('/dev/pts', 'devpts', 'devpts', 'nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'),
    mount('/dev/shm', 'tmpfs', 'shm', 'nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'),
    mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid', 'noexec', 'nodev'),
    mount('/sys', 'sysfs', 'sysfs', 'nosuid', 'noexec', 'nodev', 'ro'),
    ...(spec.cgroup2
      ? [mount('/sys/fs/cgroup', 'cgroup', 'cgroup', 'nosuid', 'noexec', 'nodev', 'relatime', 'ro')]
      : []),
    ...spec.volumes.map(({ source, path, readOnly }) =>
      mount(path, 'bind', source, 'rbind', readOnly ? 'ro' : 'rw', 'nodev'),
    ),
    ...spec.hostFiles.map((path) => mount(path, 'bind', path, 'rbind', 'ro', 'nosuid', 'nodev', 'noexec')),
  ];
}
