/**
 * The one call of Mesos's agent API that is about images: `POST /api/v1` with
 * `{"type":"PRUNE_IMAGES","prune_images":{"excluded_images":[Image…]}}`. It is answered with 200 and nothing as soon as
 * what goes is marked; files are deleted after that.
 */
import { LarderError } from '../errors.js';
import type { Image } from '../spec/image.js';
import { parseMesosImage } from '../spec/mesos-image.js';
import { anyText, list, object, optional, type Read } from './request.js';

const mesosImage: Read<Image> = (value, what) =>
  parseMesosImage(value, { doing: `read the request: ${what}`, code: 'LARDER_REQUEST_INVALID' });

const call = object({
  type: anyText,
  prune_images: optional(object({ excluded_images: optional(list(mesosImage)) })),
});

/** The images that the call excludes. Rejects with LARDER_REQUEST_INVALID. */
export function readPruneImages(body: unknown): readonly Image[] {
  const type = typeof body === 'object' && body !== null && 'type' in body ? body.type : undefined;
  if (type !== 'PRUNE_IMAGES') {
    throw new LarderError(
      'LARDER_REQUEST_INVALID',
      `read the request: call.type: ${typeof type === 'string' ? JSON.stringify(type.slice(0, 80)) : 'no text'}: not served`,
      {
        hint: 'of the calls to an agent, this is only for PRUNE_IMAGES',
      },
    );
  }
  return call(body, 'call').prune_images?.excluded_images ?? [];
}
