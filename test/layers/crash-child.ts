/** Does one thing to the store at ROOT and dies in front of the step that it is told: ROOT ACTION [STEP]. */
import { ACTIONS } from './crash-actions.js';
import { Lab } from './lab.js';

const [, , root = '', action = '', step] = process.argv;
const lab = new Lab(root, (reached) => {
  process.stdout.write(`${reached}\n`);
  if (reached === step) process.kill(process.pid, 'SIGKILL');
});
await lab.layers.prepare();
await ACTIONS[action]?.(lab);
await lab.pool.close();
