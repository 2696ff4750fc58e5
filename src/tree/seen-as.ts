import { LarderError } from '../errors.js';
import type { RootfsView } from '../spec/stack.js';
import type { LayerIndex } from './types.js';

/** A layer's index under its view; without one, as it is. */
export function seenAs(index: LayerIndex, view: RootfsView | undefined): LayerIndex {
  if (view === undefined) return index;
  throw new LarderError('LARDER_ENTRY_UNSUPPORTED', 'read layer: its view is not supported');
}
