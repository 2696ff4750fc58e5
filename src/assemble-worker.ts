/**
 * The composition root of a worker thread: which name is which task. Each task's code is loaded when it is first asked
 * for, so that a thread starts as fast as Node can start one.
 */
import type { BuildChainsData, MaterialiseData } from './backends/tasks.js';
import { serve } from './workers/serve.js';

serve({
  prepare: async () => (await import('./layers/layer-task.js')).prepareTask(),
  layer: async (data, context) => (await import('./layers/layer-task.js')).layerTask(data, context),
  index: async (data, context) => (await import('./layers/index-task.js')).indexTask(data, context),
  merge: async (data, context) => (await import('./layers/merge-task.js')).mergeTask(data, context),
  materialise: async (data, context) =>
    (await import('./backends/tasks.js')).backendTasks.materialise(data as MaterialiseData, context),
  buildChains: async (data, context) =>
    (await import('./backends/tasks.js')).backendTasks.buildChains(data as BuildChainsData, context),
  removeTree: async (data) =>
    (await import('./backends/tasks.js')).backendTasks.removeTree(data as { path: string }, {}),
  verify: async (data, context) => (await import('./layers/verify-task.js')).verifyTask(data, context),
});
