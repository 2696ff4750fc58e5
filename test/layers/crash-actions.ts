import { dir, file, tar } from '../../src/testing/tar-builder.js';
import { diffIdOf, type Lab } from './lab.js';

export const BASE = tar([dir('etc'), file('etc/a', 'a')]);
export const TOP = tar([file('etc/b', Buffer.alloc(200_000, 'b'))]);
export const LAYERS = [diffIdOf(BASE), diffIdOf(TOP)];

/** Each may be done again after it was interrupted anywhere. */
export const ACTIONS: Readonly<Record<string, (lab: Lab) => Promise<void>>> = {
  adopt: async (lab) => {
    await lab.add(BASE);
    await lab.add(TOP);
    // What an interrupted adopter left was not proven, and made way.
    await lab.layers.sweep();
  },
  merge: async (lab) => {
    await lab.merged.ensure(LAYERS.map((diffId) => ({ diffId })));
  },
  retire: async (lab) => {
    await lab.layers.retire(...LAYERS);
    await lab.layers.sweep();
  },
};
