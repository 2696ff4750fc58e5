/** What lies in `containers/`: what no record says when the metadata is lost. */
import { lstatSync } from 'node:fs';
import { systemError } from '../errors.js';
import type { Layout } from '../layout.js';
import { namesIn } from '../linux/names-in.js';
import { type ContainerId, containerOfDirectory, isBelow } from '../spec/container-id.js';

export function hasDirectory(layout: Layout, container: ContainerId): boolean {
  try {
    return lstatSync(layout.container(container), { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw systemError(`container ${container}`, error);
  }
}

/** Of the containers that are nested in this one, at any depth. */
export async function directoriesBelow(layout: Layout, container: ContainerId): Promise<ContainerId[]> {
  return (await namesIn(layout.containers))
    .map(containerOfDirectory)
    .filter((id) => id !== undefined)
    .filter((id) => isBelow(id, container));
}
