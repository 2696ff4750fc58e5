import { LarderError } from '../../errors.js';
import { type Command, fired, listOption, textOption } from '../command.js';

const DEFAULT_LISTEN = '127.0.0.1:5050';
/** What is being served may take so long when it is told to end. */
const GRACE_MS = 3000;

/**
 * `larder serve [--listen HOST:PORT] [--exposed] [--share-private] [--upstream HOST…]`: the store as a registry, until a
 * signal. Ends with 0.
 */
export const serve: Command = async ({ flags, log, signal, onEvent }, _args, options) => {
  const exposed = options['exposed'] === true;
  const upstreams = listOption(options, 'upstream').map((host) => host.toLowerCase());
  const { host, port } = listenOption(textOption(options, 'listen') ?? DEFAULT_LISTEN, exposed);
  if (exposed && upstreams.length === 0) {
    throw new LarderError('LARDER_REQUEST_INVALID', 'serve: --exposed: nothing says which registries it stands for', {
      hint: 'name each with --upstream: whoever reaches it could make it ask any host that this machine reaches',
    });
  }
  const [{ Assembly }, { configOf }, { RegistryFace }] = await Promise.all([
    import('../../assemble.js'),
    import('../../config.js'),
    import('../../serve/server.js'),
  ]);
  const assembly = await Assembly.open(configOf(flags()), { onEvent });
  try {
    const sharePrivate = options['sharePrivate'] === true;
    const face = await RegistryFace.start(assembly, { host, port, exposed, sharePrivate, upstreams, onEvent });
    log(`serves ${assembly.config.root} at ${host.includes(':') ? `[${host}]` : host}:${face.port}`);
    await fired(signal);
    log('ends');
    await face.stop(GRACE_MS);
  } finally {
    await assembly.close();
  }
  return {};
};

/** `HOST:PORT` with an address of the loopback, unless it was said that others may reach it. */
function listenOption(text: string, exposed: boolean): { host: string; port: number } {
  const [, bracketed, plain, digits = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:/]+)):(\d{1,5})$/.exec(text) ?? [];
  const [host, port] = [bracketed ?? plain ?? '', Number(digits)];
  if (host === '' || port > 65_535) {
    throw new LarderError('LARDER_REQUEST_INVALID', `serve: --listen ${JSON.stringify(text)}: not HOST:PORT`);
  }
  if (exposed || host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)) {
    return { host, port };
  }
  throw new LarderError('LARDER_REQUEST_INVALID', `serve: --listen ${text}: others than this machine may reach it`, {
    hint: 'say so with --exposed: it has no TLS, and asks nobody who he is',
  });
}
