/**
 * The process that keeps a store open for {@link LarderLibrary}: one question in, one answer out, until nobody asks.
 * Arguments: the store's root, and further settings as JSON.
 */
import { type Larder, openLarder } from '../../src/index.js';

export type Question =
  | { readonly method: 'images' }
  | { readonly method: 'pull' | 'remove'; readonly reference: string }
  | { readonly method: 'provision'; readonly reference: string; readonly id: string }
  | { readonly method: 'destroy'; readonly id: string };

export interface Answer {
  readonly value: string;
  readonly failed?: string;
}

const [root = '', settings = '{}'] = process.argv.slice(2);
const larder = openLarder({ ...JSON.parse(settings), root });

process.on('message', async (question: Question) => {
  process.send?.(await answer(question));
});
process.once('disconnect', async () => {
  await (await larder).close();
});

async function answer(question: Question): Promise<Answer> {
  try {
    return { value: await carryOut(await larder, question) };
  } catch (error) {
    return { value: '', failed: String(error) };
  }
}

async function carryOut(open: Larder, question: Question): Promise<string> {
  switch (question.method) {
    case 'images':
      return String((await open.images()).length);
    case 'pull': {
      await using image = await open.pull(question.reference, { cached: false });
      return image.record.digest;
    }
    case 'provision':
      return (await open.provision(question.reference, { id: question.id })).rootfs;
    case 'destroy':
      await open.destroy(question.id);
      return '';
    case 'remove':
      await open.remove(question.reference);
      return '';
  }
}
