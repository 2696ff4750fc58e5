import { LarderError } from '../../errors.js';
import { type Command, fired, textOption } from '../command.js';
import { version } from '../version.js';

const DEFAULT_GRACE_SECONDS = 3;
const MAX_GRACE_SECONDS = 24 * 60 * 60;
const LOOPBACK = ['127.0.0.1', '::1', 'localhost'];

/**
 * `larder daemon [--metrics PORT] [--grace SECONDS]`: serves until a signal; the first lets what runs finish for the
 * grace, the second cancels it. Ends with 0 either way: a daemon that was told to end did as it was told.
 */
export const daemon: Command = async ({ flags, log, signal }, _args, options) => {
  const metrics = metricsOption(textOption(options, 'metrics'));
  const graceMs = graceOption(textOption(options, 'grace')) * 1000;
  const { Daemon } = await import('../../daemon/server.js');
  const running = await Daemon.start({
    flags: flags(),
    version: version(),
    log,
    ...(metrics === undefined ? {} : { metrics }),
  });
  const port = running.metricsPort === undefined ? '' : `; metrics at port ${running.metricsPort}`;
  log(`serves ${running.root} at ${running.place}${port}`);
  await fired(signal);
  log('ends');
  const again = (): void => running.abort();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, again);
  try {
    await running.stop(graceMs);
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, again);
  }
  return {};
};

/** `PORT`, or `HOST:PORT` with a host of the loopback: what is not secret is not for everybody either. */
function metricsOption(text: string | undefined): { host: string; port: number } | undefined {
  if (text === undefined) return undefined;
  const [, bracketed, plain = '127.0.0.1', digits = ''] = /^(?:\[(.+)\]:|([^[\]:]+):)?(\d{1,5})$/.exec(text) ?? [];
  const [host, port] = [bracketed ?? plain, Number(digits)];
  if (digits !== '' && port <= 65_535 && LOOPBACK.includes(host)) return { host, port };
  throw new LarderError('LARDER_REQUEST_INVALID', `daemon: --metrics ${JSON.stringify(text)}: not a loopback port`, {
    hint: 'give a port, or 127.0.0.1:PORT; scrape from elsewhere through something that authenticates',
  });
}

function graceOption(text: string | undefined): number {
  if (text === undefined) return DEFAULT_GRACE_SECONDS;
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds <= MAX_GRACE_SECONDS) return seconds;
  throw new LarderError('LARDER_REQUEST_INVALID', `daemon: --grace ${JSON.stringify(text)}: not a number of seconds`);
}
