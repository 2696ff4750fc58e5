import type { RootfsView } from '../spec/stack.js';
import { whitelistSet } from './path-whitelist.js';
import { rootfsView } from './rootfs-view.js';
import type { LayerIndex } from './types.js';

/** A layer's index under its view; without one, as it is. Rejects as `rootfsView` does. */
export function seenAs(index: LayerIndex, view: RootfsView | undefined): LayerIndex {
  if (view === undefined) return index;
  return rootfsView(index, view.only === undefined ? undefined : whitelistSet(view.only));
}
