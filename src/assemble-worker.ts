/**
 * The composition root of a worker thread: which name is which task. Each task's code is loaded when it is first asked
 * for, so that a thread starts as fast as Node can start one.
 */
import type { BackendTasks } from './backends/tasks.js';
import type { Task } from './workers/protocol.js';
import { serve } from './workers/serve.js';

const BACKEND_TASKS = [
  'materialise',
  'buildChains',
  'unmountTree',
  'removeTree',
] as const satisfies (keyof BackendTasks)[];

serve({
  prepare: async () => (await import('./layers/layer-task.js')).prepareTask(),
  layer: async (data, context) => (await import('./layers/layer-task.js')).layerTask(data, context),
  index: async (data, context) => (await import('./layers/index-task.js')).indexTask(data, context),
  merge: async (data, context) => (await import('./layers/merge-task.js')).mergeTask(data, context),
  verify: async (data, context) => (await import('./layers/verify-task.js')).verifyTask(data, context),
  ...Object.fromEntries(BACKEND_TASKS.map((name) => [name, backendTask(name)])),
});

function backendTask(name: keyof BackendTasks): Task {
  return async (data, context) => (await import('./backends/tasks.js')).workerTasks[name](data, context);
}
