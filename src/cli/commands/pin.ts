import { type Command, platformOption } from '../command.js';

/** `larder pin REF…` */
export const pin: Command = ({ larder }, references, options) =>
  each(references, 'pinned', async (reference) => (await larder()).pin(reference, platformOption(options)));

/** `larder unpin REF…` */
export const unpin: Command = ({ larder }, references, options) =>
  each(references, 'unpinned', async (reference) => (await larder()).unpin(reference, platformOption(options)));

async function each(references: readonly string[], done: string, change: (reference: string) => Promise<boolean>) {
  const data: { image: string; changed: boolean }[] = [];
  for (const image of references) data.push({ image, changed: await change(image) });
  const lines = data.map(({ image, changed }) => (changed ? `${image}: ${done}` : `${image}: was ${done} already`));
  return { data, text: lines.join('\n') };
}
