/** Every target by its name, in the order in which they run. */
import type { FuzzTarget, OpenTarget } from '../target.js';
import { openArchiveTarget } from './archive.js';
import { documentTargets } from './documents.js';
import { openDoorTarget } from './doors.js';
import { openErofsTarget } from './erofs.js';
import { openGnuTarTarget } from './gnu-tar.js';
import { openInflateTarget } from './inflate.js';
import { layerIndexTarget } from './layer-index.js';
import { openLayersTarget } from './layers.js';
import { openPullTarget } from './pull.js';
import { openPullLogTarget } from './pull-log.js';
import { openRegistryTarget } from './registry.js';
import { tarTarget } from './tar.js';
import { textTargets } from './texts.js';
import { openHostsTomlTarget, registriesConfTarget } from './toml.js';

const PLAIN: readonly FuzzTarget[] = [
  ...textTargets,
  ...documentTargets,
  registriesConfTarget,
  tarTarget,
  layerIndexTarget,
];

export const TARGETS: ReadonlyMap<string, OpenTarget> = new Map<string, OpenTarget>([
  ...PLAIN.map((target): [string, OpenTarget] => [target.name, () => target]),
  ['hosts-toml', openHostsTomlTarget],
  ['gnu-tar', openGnuTarTarget],
  ...(['gzip', 'zstd', 'bzip2', 'xz'] as const).map((compression): [string, OpenTarget] => [
    `inflate-${compression}`,
    () => openInflateTarget(compression),
  ]),
  ['pull-log', openPullLogTarget],
  ['archive', openArchiveTarget],
  ['registry', openRegistryTarget],
  ['pull', openPullTarget],
  ...(['daemon', 'serve'] as const).map((name): [string, OpenTarget] => [name, () => openDoorTarget(name)]),
  ['erofs', openErofsTarget],
  ['layers', openLayersTarget],
]);
