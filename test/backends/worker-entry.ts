import { workerTasks } from '../../src/backends/tasks.js';
import { serve } from '../../src/workers/serve.js';

serve(workerTasks);
