/** `ask-child SOCKET PATH [BODY]`: prints the status and the answer. */
import { ask } from './daemon.js';

const [socket = '', path = '', body] = process.argv.slice(2);
const answer = await ask(socket, path, body === undefined ? {} : { body });
process.stdout.write(`${answer.status} ${answer.body}`);
