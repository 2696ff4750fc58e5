/**
 * The composition root of a worker thread: which name is which task. Each task's code is loaded when it is first asked
 * for, so that a thread starts as fast as Node can start one.
 */
import type { BackendTasks } from './backends/tasks.js';
import type { Task, TaskContext } from './workers/protocol.js';
import { serve } from './workers/serve.js';

/** A table, so that a task that is missing here does not compile. */
const BACKEND_TASKS: Readonly<Record<keyof BackendTasks, (data: unknown, context: TaskContext) => Promise<unknown>>> = {
  materialise: backendTask('materialise'),
  buildChains: backendTask('buildChains'),
  removeTree: backendTask('removeTree'),
};

serve({
  prepare: async () => (await import('./layers/layer-task.js')).prepareTask(),
  layer: async (data, context) => (await import('./layers/layer-task.js')).layerTask(data, context),
  index: async (data, context) => (await import('./layers/index-task.js')).indexTask(data, context),
  merge: async (data, context) => (await import('./layers/merge-task.js')).mergeTask(data, context),
  verify: async (data, context) => (await import('./layers/verify-task.js')).verifyTask(data, context),
  inflateArchive: async (data, context) =>
    (await import('./store/archives/archive-tasks.js')).inflateArchiveTask(data, context),
  hashArchived: async (data, context) =>
    (await import('./store/archives/archive-tasks.js')).hashArchivedTask(data, context),
  ...BACKEND_TASKS,
});

function backendTask(name: keyof BackendTasks): Task {
  return async (data, context) => (await import('./backends/tasks.js')).workerTasks[name](data, context);
}
