/**
 * What larder tells while it works. Events are plain data; a listener that throws is a bug of the listener and
 * surfaces as an unhandled error, it never changes the outcome of the work.
 *
 * All sizes are bytes. `layer` is the digest of the layer as transferred; of an Appc image, whose id nobody knows before
 * it is here, it is the image's canonical text.
 */
export type LarderEvent =
  | { readonly type: 'resolve'; readonly reference: string }
  | {
      readonly type: 'resolved';
      readonly reference: string;
      readonly digest: string;
      readonly platform: string;
      readonly cached: boolean;
    }
  | {
      readonly type: 'plan';
      readonly layers: readonly {
        readonly layer: string;
        readonly size: number;
        readonly state: 'present' | 'fetch';
      }[];
    }
  | { readonly type: 'layer-start'; readonly layer: string; readonly size: number; readonly resumedFrom: number }
  | { readonly type: 'layer-progress'; readonly layer: string; readonly received: number; readonly written: number }
  | { readonly type: 'layer-wait'; readonly layer: string; readonly reason: 'another-process' | 'network' }
  | {
      readonly type: 'layer-done';
      readonly layer: string;
      readonly diffId: string;
      readonly received: number;
      readonly written: number;
      readonly entries: number;
      readonly ms: number;
    }
  | {
      readonly type: 'retry';
      readonly what: string;
      readonly reason: string;
      readonly attempt: number;
      readonly afterMs: number;
    }
  /** A host asked to be left alone, and `what` waits for so long before it asks there. */
  | { readonly type: 'rate-limit'; readonly what: string; readonly host: string; readonly afterMs: number }
  /** A mirror is asked for something; or, with `insteadOf`, a host is asked since another one was passed over. */
  | {
      readonly type: 'mirror';
      readonly what: string;
      readonly host: string;
      readonly insteadOf?: string;
      readonly reason?: string;
    }
  | { readonly type: 'merge'; readonly layers: number; readonly entries: number; readonly ms: number }
  | { readonly type: 'commit'; readonly reference: string; readonly imageId: string }
  | { readonly type: 'mounted'; readonly container: string; readonly rootfs: string; readonly backend: string }
  | { readonly type: 'destroyed'; readonly container: string }
  | {
      readonly type: 'removed';
      readonly what: 'image' | 'layer' | 'blob' | 'derived';
      readonly name: string;
      readonly bytes: number;
    }
  /** How much of a long work on the whole store is done. */
  | {
      readonly type: 'progress';
      readonly what: 'check' | 'rebuild' | 'repair' | 'export';
      readonly done: number;
      readonly total: number;
    }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'debug'; readonly scope: string; readonly message: string };

export type OnEvent = (event: LarderEvent) => void;

/** What every long operation takes last. */
export interface OperationOptions {
  readonly signal?: AbortSignal;
  readonly onEvent?: OnEvent;
}

/**
 * The same events as an async iterable: `start` is called with a listener, the iteration ends when its promise does,
 * and throws what it rejects with.
 */
export async function* eventsOf(
  start: (onEvent: OnEvent) => Promise<unknown>,
): AsyncGenerator<LarderEvent, void, void> {
  const queue: LarderEvent[] = [];
  let wake: () => void = () => {};
  let settled = false;
  const work = start((event) => {
    queue.push(event);
    wake();
  }).finally(() => {
    settled = true;
    wake();
  });
  // The rejection is delivered by the `await work` below; this only keeps it from being reported as unhandled before.
  work.catch(() => {});
  for (;;) {
    for (let event = queue.shift(); event !== undefined; event = queue.shift()) yield event;
    if (settled) break;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  await work;
}
