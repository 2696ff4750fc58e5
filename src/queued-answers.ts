/**
 * A client may send requests one behind the other without waiting. Node then holds their answers back, and tells those
 * that still wait nothing when the connection ends: they would never be closed, and what they hold never be given up.
 */
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Does it when it is the answer's turn on its connection: now, later, or, where it is closed before, never. */
export function onTurn(answer: ServerResponse, work: (socket: Socket) => void): void {
  if (answer.destroyed) return;
  if (answer.socket !== null) work(answer.socket);
  else
    answer.once('socket', (socket: Socket) => {
      if (!answer.destroyed) work(socket);
    });
}

/** Closes the answers that wait behind another one when their connection closes: each answer emits `close` then. */
export function closeQueuedAnswers(server: Server): void {
  const open = new WeakMap<Socket, Set<ServerResponse>>();
  server.on('connection', (socket: Socket) => {
    const answers = new Set<ServerResponse>();
    open.set(socket, answers);
    socket.once('close', () => {
      for (const answer of answers) {
        // Node closes the first of them itself.
        if (answer.socket !== null) continue;
        answer.destroy();
        answer.emit('close');
      }
    });
  });
  server.on('request', ({ socket }, answer) => {
    const answers = open.get(socket);
    answers?.add(answer);
    answer.once('close', () => answers?.delete(answer));
  });
}
