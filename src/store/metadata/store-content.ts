import { join } from 'node:path';
import type { Layout } from '../../layout.js';
import { namesIn } from '../../linux/names-in.js';

/** Whether the store has anything that only a database can have known of. */
export async function storeHasContent({ layers, blobs, containers }: Layout): Promise<boolean> {
  for (const place of [layers, join(blobs, 'sha256'), join(blobs, 'sha512'), containers]) {
    if ((await namesIn(place)).some((name) => !name.endsWith('.lock'))) return true;
  }
  return false;
}
