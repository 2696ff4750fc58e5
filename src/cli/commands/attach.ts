import { deserializeError, ERROR_TABLE, LarderError } from '../../errors.js';
import type { LarderEvent } from '../../events.js';
import type { LarderApi } from '../../larder-api.js';
import type { RunningPull } from '../../store/pulls/running-pulls.js';
import type { Command, CommandContext, CommandResult } from '../command.js';
import { formatAge, formatBytes, formatDuration, formatTable, jsonLine, shortImageName } from '../format.js';

/** `larder attach [--list] [REFERENCE|ID]` */
export const attach: Command = async (context, [wanted], options) => {
  const store = await context.open();
  if (wanted !== undefined && options['list'] !== true) return follow(store, wanted, context, options);
  const pulls = await store.pulls();
  const [only] = pulls;
  if (options['list'] !== true && pulls.length === 1 && only !== undefined)
    return follow(store, only.id, context, options);
  return { data: pulls, text: pulls.length === 0 ? 'no pull is under way' : table(pulls) };
};

/** With `--json` the events are the result, one a line; the end of a pull that failed is this command's, too. */
async function follow(
  store: LarderApi,
  pull: string,
  { onEvent, signal }: CommandContext,
  options: Readonly<Record<string, unknown>>,
): Promise<CommandResult> {
  const events = store.attach(pull, { signal });
  if (options['json'] === true) return { bytes: linesOf(events) };
  let reference = pull;
  for await (const event of events) {
    onEvent(event);
    if (event.type === 'snapshot') reference = event.pull.reference;
    if (event.type === 'ended') throwUnlessDone(reference, event);
  }
  return { text: `${reference}: pulled` };
}

async function* linesOf(events: AsyncIterable<LarderEvent>): AsyncGenerator<Uint8Array, void, undefined> {
  let reference = '';
  for await (const event of events) {
    yield Buffer.from(`${jsonLine(event)}\n`);
    if (event.type === 'snapshot') reference = event.pull.reference;
    if (event.type === 'ended') throwUnlessDone(reference, event);
  }
}

function throwUnlessDone(reference: string, { outcome, error }: Extract<LarderEvent, { type: 'ended' }>): void {
  if (outcome === 'done') return;
  // One that this version does not know comes from a process of another one.
  if (error !== undefined && Object.hasOwn(ERROR_TABLE, error.code)) throw deserializeError(error);
  const why = outcome === 'lost' ? 'its process is gone' : (error?.message ?? outcome);
  throw new LarderError('LARDER_ABORTED', `attach to ${reference}: ${why}`, {
    hint: 'pull it again: what was fetched is not fetched again',
  });
}

function table(pulls: readonly RunningPull[]): string {
  const rows = pulls.map((pull) => [
    pull.id,
    shortImageName(pull.reference),
    pull.platform,
    String(pull.pid),
    formatAge(pull.startedAtMs, Date.now()),
    pull.percent === undefined ? '' : `${pull.percent} %`,
    `${formatBytes(pull.received)} of ${formatBytes(pull.size)}`,
    pull.etaMs === undefined ? '' : formatDuration(pull.etaMs),
    pull.bottleneck ?? '',
  ]);
  return formatTable(['ID', 'IMAGE', 'PLATFORM', 'PID', 'STARTED', 'DONE', 'FETCHED', 'LEFT', 'HELD UP BY'], rows);
}
