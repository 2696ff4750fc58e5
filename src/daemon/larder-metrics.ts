/**
 * What an operator sees of a daemon. Mesos's provisioner metrics keep their meaning: `image_pull_ms` is here
 * `larder_image_pull_seconds` (failed and cancelled pulls count, cache hits and those who joined a pull do not),
 * `remove_container_errors` is `larder_remove_container_errors_total`.
 */
import { isAbort, isLarderError } from '../errors.js';
import type { LarderEvent } from '../events.js';
import { MetricsRegistry } from './metrics.js';

const SECONDS = [0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1800];
const LOCK_SECONDS = [0.001, 0.005, 0.025, 0.1, 0.5, 2, 10, 60];

/** What is counted when somebody looks, not when it happens. */
export interface StoreGauges {
  readonly images: number;
  readonly layers: number;
  readonly containers: number;
  readonly layerBytes: number;
  readonly fileSystem: { readonly sizeBytes: number; readonly freeBytes: number } | undefined;
}

export class LarderMetrics {
  readonly registry = new MetricsRegistry();
  readonly #pulls = this.registry.counter(
    'larder_image_pulls_total',
    'Pulls that asked a registry, by result: success or the error code.',
  );
  readonly #pullSeconds = this.registry.histogram(
    'larder_image_pull_seconds',
    'Duration of pulls that asked a registry, failed and cancelled ones too; cache hits do not count.',
    SECONDS,
  );
  readonly #cacheHits = this.registry.counter(
    'larder_image_cache_hits_total',
    'Requests for an image that were answered from the store.',
  );
  readonly #fetchedBytes = this.registry.counter('larder_fetched_bytes_total', 'Compressed bytes of layers fetched.');
  readonly #writtenBytes = this.registry.counter('larder_written_bytes_total', 'Bytes of layer tars written.');
  readonly #fetchedLayers = this.registry.counter('larder_fetched_layers_total', 'Layers fetched.');
  readonly #retries = this.registry.counter('larder_fetch_retries_total', 'Requests to registries that were repeated.');
  readonly #removeErrors = this.registry.counter(
    'larder_remove_container_errors_total',
    'Containers whose root filesystem could not be taken down.',
  );
  readonly #removedBytes = this.registry.counter('larder_removed_bytes_total', 'Bytes removed, by what they were.');
  readonly #operations = this.registry.counter(
    'larder_operations_total',
    'Operations that ended, by result: success or the error code.',
  );
  readonly #operationSeconds = this.registry.histogram(
    'larder_operation_seconds',
    'Duration of operations, failed ones too.',
    SECONDS,
  );
  readonly #inFlight = this.registry.gauge('larder_operations_in_flight', 'Operations that are under way.');
  readonly #lockWait = this.registry.histogram(
    'larder_lock_wait_seconds',
    'How long the store lock was waited for, by mode.',
    LOCK_SECONDS,
  );
  readonly #denied = this.registry.counter('larder_denied_connections_total', 'Connections of users not served.');
  readonly #gcRuns = this.registry.counter(
    'larder_gc_runs_total',
    'Garbage collections: collected, not needed (skipped), or failed.',
  );
  readonly #gcBytes = this.registry.counter('larder_gc_freed_bytes_total', 'Bytes freed by garbage collections.');
  readonly #images = this.registry.gauge('larder_images', 'Images in the store.');
  readonly #layers = this.registry.gauge('larder_layers', 'Layers in the store.');
  readonly #containers = this.registry.gauge('larder_containers', 'Provisioned containers.');
  readonly #storeBytes = this.registry.gauge('larder_store_layer_bytes', 'Bytes of all layer tars in the store.');
  readonly #diskSize = this.registry.gauge('larder_filesystem_size_bytes', "Size of the store's file system.");
  readonly #diskFree = this.registry.gauge('larder_filesystem_free_bytes', "Free bytes of the store's file system.");
  readonly #resident = this.registry.gauge('process_resident_memory_bytes', 'Resident memory of the daemon.');
  readonly #heap = this.registry.gauge('nodejs_heap_size_used_bytes', "The daemon's heap in use.");
  readonly #cpu = this.registry.counter('process_cpu_seconds_total', 'User and system time of the daemon.');
  readonly #start = this.registry.gauge('process_start_time_seconds', 'When the daemon started, since the epoch.');

  /** Follows one operation to its end, by its events and its outcome. `now` is in milliseconds. */
  track(operation: string, now: () => number = () => performance.now()): Tracked {
    const labels = { operation };
    const sinceMs = now();
    let askedAtMs: number | undefined;
    this.#inFlight.add(1, labels);
    return {
      onEvent: (event) => {
        // Whose pull it is counts what it does.
        if (operation === 'attach') return;
        if (event.type === 'resolve') askedAtMs ??= now();
        // A pull finds its image in the store, too, when it has put it there.
        if (event.type === 'resolved' && event.cached && askedAtMs === undefined) this.#cacheHits.add();
        this.count(event);
      },
      ended: (error) => {
        const result = error === undefined ? 'success' : codeOf(error);
        this.#inFlight.add(-1, labels);
        this.#operations.add(1, { ...labels, result });
        this.#operationSeconds.observe((now() - sinceMs) / 1000, labels);
        if (operation === 'destroy' && error !== undefined && result !== 'LARDER_REQUEST_INVALID')
          this.#removeErrors.add();
        if (askedAtMs === undefined) return;
        this.#pulls.add(1, { result });
        this.#pullSeconds.observe((now() - askedAtMs) / 1000);
      },
    };
  }

  /** What an event says by itself, whichever operation it is of. */
  count(event: LarderEvent): void {
    switch (event.type) {
      case 'layer-done':
        this.#fetchedLayers.add();
        this.#fetchedBytes.add(event.received);
        this.#writtenBytes.add(event.written);
        return;
      case 'retry':
        this.#retries.add();
        return;
      case 'removed':
        this.#removedBytes.add(event.bytes, { what: event.what });
        return;
      default:
    }
  }

  lockWaited(mode: 'shared' | 'exclusive', ms: number): void {
    this.#lockWait.observe(ms / 1000, { mode });
  }

  denied(uid: number | undefined): void {
    this.#denied.add(1, uid === undefined ? {} : { uid: String(uid) });
  }

  collected(result: 'collected' | 'skipped' | 'failed', bytes = 0): void {
    this.#gcRuns.add(1, { result });
    this.#gcBytes.add(bytes);
  }

  render(gauges: StoreGauges): string {
    this.#images.set(gauges.images);
    this.#layers.set(gauges.layers);
    this.#containers.set(gauges.containers);
    this.#storeBytes.set(gauges.layerBytes);
    if (gauges.fileSystem !== undefined) {
      this.#diskSize.set(gauges.fileSystem.sizeBytes);
      this.#diskFree.set(gauges.fileSystem.freeBytes);
    }
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage();
    this.#resident.set(memory.rss);
    this.#heap.set(memory.heapUsed);
    this.#cpu.raiseTo((cpu.user + cpu.system) / 1e6);
    this.#start.set(Math.round(Date.now() / 1000 - process.uptime()));
    return this.registry.render();
  }
}

export interface Tracked {
  readonly onEvent: (event: LarderEvent) => void;
  /** To be called once; without an error it succeeded. */
  readonly ended: (error?: unknown) => void;
}

function codeOf(error: unknown): string {
  if (isLarderError(error)) return error.code;
  return isAbort(error) ? 'LARDER_ABORTED' : 'LARDER_INTERNAL';
}
