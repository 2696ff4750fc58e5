/** A face over a store of its own, and a registry behind it; what is asked of it goes over the wire as it is written. */
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Assembly } from '../../src/assemble.js';
import { configOf, parseFlags, type RawFlags } from '../../src/config.js';
import { Larder } from '../../src/larder.js';
import { type FaceOptions, RegistryFace } from '../../src/serve/server.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Whether all came that was announced. */
  readonly whole: boolean;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export class Faced implements AsyncDisposable {
  readonly directory: string;
  readonly assembly: Assembly;
  readonly larder: Larder;
  readonly face: RegistryFace;

  constructor(directory: string, assembly: Assembly, face: RegistryFace) {
    this.directory = directory;
    this.assembly = assembly;
    this.larder = new Larder(assembly);
    this.face = face;
  }

  static async open(flags: RawFlags = {}, options: Partial<FaceOptions> = {}): Promise<Faced> {
    const directory = makeDirectory();
    const given = { root: join(directory, 'store'), registries_conf: 'none', registry_certs_dir: 'none', ...flags };
    const assembly = await Assembly.open(configOf(parseFlags(given, 'test')));
    return new Faced(directory, assembly, await RegistryFace.start(assembly, { port: 0, ...options }));
  }

  /** The path as it is, whatever is in it. */
  async ask(path: string, options: AskOptions = {}): Promise<Answer> {
    const response = await this.begin(path, options);
    const pieces: Buffer[] = [];
    let whole = true;
    try {
      for await (const piece of response as AsyncIterable<Buffer>) pieces.push(piece);
    } catch {
      whole = false;
    }
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces), whole };
  }

  /** The head of an answer whose body nobody reads yet. */
  begin(path: string, { method = 'GET', headers = {}, body }: AskOptions = {}): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { port } = this.face;
      const sent = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, resolve);
      sent.once('error', reject);
      sent.end(body);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.face.stop(0);
    await this.assembly.close();
    removeDirectory(this.directory);
  }
}

/** A registry's name as the first part of a path. */
export function inPath(host: string): string {
  return host.replace(':', '__');
}

export function basic(login: string): Readonly<Record<string, string>> {
  return { authorization: `Basic ${Buffer.from(login).toString('base64')}` };
}
