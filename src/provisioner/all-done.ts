/**
 * The work on all items side by side; one answer for each, in their order. The first failure cuts the others off; it is
 * what rejects, once all have ended. `undo` gets the answers that nobody will have then.
 */
export async function allDone<T, R>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<R>,
  undo: (answer: R) => Promise<void> = async () => {},
): Promise<R[]> {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  const failures: unknown[] = [];
  const answers: R[] = [];
  const outcomes = await Promise.allSettled(
    items.map((item) =>
      work(item, controller.signal).catch((error: unknown) => {
        failures.push(error);
        controller.abort(error);
        throw error;
      }),
    ),
  );
  signal?.removeEventListener('abort', onAbort);
  for (const outcome of outcomes) if (outcome.status === 'fulfilled') answers.push(outcome.value);
  if (failures.length === 0) return answers;
  for (const answer of answers) await undo(answer);
  throw failures[0];
}
