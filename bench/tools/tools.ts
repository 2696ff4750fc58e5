import { Containerd } from './containerd.js';
import { Docker } from './docker.js';
import { Larder } from './larder.js';
import { LarderLibrary } from './larder-library.js';
import { Podman } from './podman.js';
import type { ProcessGroup } from './process-group.js';
import { SkopeoUmoci } from './skopeo-umoci.js';
import { hasPrograms, type Tool } from './tool.js';

interface Known {
  readonly programs: readonly string[];
  readonly make: (group: ProcessGroup, directory: string, checkout: string) => Tool;
}

const KNOWN: Readonly<Record<string, Known>> = {
  larder: { programs: [], make: (group, directory, checkout) => new Larder(group, checkout, directory) },
  'larder-library': {
    programs: [],
    make: (group, directory, checkout) => new LarderLibrary(group, checkout, directory),
  },
  ctr: { programs: ['containerd', 'ctr'], make: (group, directory) => new Containerd(group, directory) },
  podman: { programs: ['podman'], make: (group, directory) => new Podman(group, directory) },
  docker: { programs: ['dockerd', 'docker'], make: (group, directory) => new Docker(group, directory) },
  'skopeo+umoci': { programs: ['skopeo', 'umoci'], make: (group, directory) => new SkopeoUmoci(group, directory) },
};

export const TOOLS: readonly string[] = Object.keys(KNOWN);

/** Undefined where its programs are not installed. */
export function makeTool(name: string, group: ProcessGroup, checkout: string, directory: string): Tool | undefined {
  const known = KNOWN[name];
  if (known === undefined) throw new Error(`bench: ${name}: no such tool; there are ${TOOLS.join(', ')}`);
  return hasPrograms(...known.programs) ? known.make(group, directory, checkout) : undefined;
}
