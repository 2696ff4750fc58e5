import type { Command } from '../command.js';
import { formatBytes } from '../format.js';

/** `larder info` */
export const info: Command = async ({ open }) => {
  const facts = await (await open()).info();
  const chosen = facts.backend === undefined ? 'none is usable here' : facts.backend;
  const lines = [
    ['store', facts.root],
    ['images', String(facts.images)],
    ['layers', `${facts.layers}, ${formatBytes(facts.layerBytes)}`],
    ['containers', String(facts.containers)],
    ['platform', facts.platform],
    [
      'decoders',
      Object.entries(facts.decoders)
        .map(([name, decoder]) => `${name}: ${decoder}`)
        .join(', '),
    ],
    ['backend', chosen],
    ...facts.backends.map(({ name, usable, reason }) => [
      `  ${name}`,
      `${usable ? 'usable' : 'not usable'}: ${reason}`,
    ]),
  ];
  return { data: facts, text: lines.map(([name = '', value = '']) => `${name.padEnd(12)} ${value}`).join('\n') };
};
