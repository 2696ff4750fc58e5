/** `ask-child SOCKET PATH`: prints the status and the answer. */
import { ask } from './daemon.js';

const [socket = '', path = ''] = process.argv.slice(2);
const { status, body } = await ask(socket, path);
process.stdout.write(`${status} ${body}`);
