/**
 * Credential helpers: programs `docker-credential-NAME` that keep logins in a key chain or get them from a cloud
 * (the protocol of github.com/docker/docker-credential-helpers: `get`, the server on standard input, JSON on standard
 * output). No secret is in their arguments or variables, and nothing of what they say is in a message.
 */
import * as v from 'valibot';
import { SingleFlight } from '../concurrency.js';
import { isLarderError, LarderError, systemError } from '../errors.js';
import { parseJson } from '../spec/json.js';
import { assertShape } from '../spec/shape.js';
import type { Login } from './docker-config.js';

export interface HelperOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  /** What the helper said before was refused. */
  readonly fresh?: boolean;
}

const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 1024;
/** Registries with Basic logins are shown one with each request; what clouds give lives for hours. */
const KEPT_MS = 5 * 60_000;
/** credentials/error.go: an answer, not a failure. */
const NOT_FOUND = 'credentials not found in native keychain';
/** Variables of ours, which may hold logins, and those that make programs load code. */
const NOT_PASSED_ON = /^(?:LARDER_|NODE_|LD_)/;

interface Kept {
  readonly login: Login | undefined;
  readonly untilMs: number;
}

/** Asks helpers, and remembers for a few minutes what they said. */
export class CredentialHelpers {
  readonly #options: HelperOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #flights = new SingleFlight<string, Login | undefined>();

  constructor(options: HelperOptions = {}) {
    this.#options = options;
  }

  /**
   * What `docker-credential-<name>` has for a host; undefined when it has nothing. Rejects with
   * LARDER_REGISTRY_UNAUTHENTICATED when it cannot be asked or answers nonsense, LARDER_ABORTED.
   */
  async get(name: string, host: string, { signal, fresh = false }: AskOptions = {}): Promise<Login | undefined> {
    const key = `${name} ${host}`;
    const kept = this.#kept.get(key);
    if (!fresh && kept !== undefined && kept.untilMs > performance.now()) return kept.login;
    return this.#flights.run(
      key,
      async (shared) => {
        const login = await askHelper(name, serverOf(host), this.#options, shared.signal);
        this.#kept.set(key, { login, untilMs: performance.now() + KEPT_MS });
        return login;
      },
      signal === undefined ? {} : { signal },
    );
  }
}

/** Docker's own registry is kept under the address that it had when helpers were invented. */
function serverOf(host: string): string {
  return host === 'docker.io' ? 'https://index.docker.io/v1/' : host;
}

async function askHelper(
  name: string,
  server: string,
  { env = process.env, timeoutMs = TIMEOUT_MS }: HelperOptions,
  signal: AbortSignal,
): Promise<Login | undefined> {
  // Only who has a helper loads what runs programs.
  const { findProgram, runProgram } = await import('../linux/run-program.js');
  const program = `docker-credential-${name}`;
  const doing = `ask ${program} for the login of ${server}`;
  const path = await findProgram(program, env['PATH']);
  if (path === undefined) throw failed(doing, 'there is no such program on $PATH');
  const limits = { doing, timeoutMs, maxOutputBytes: MAX_ANSWER_BYTES + 1, env: passedOn(env), input: server, signal };
  const {
    status,
    signal: killer,
    stdout,
  } = await runProgram(path, ['get'], limits).catch((error: unknown) => {
    // Its message may quote what the program said.
    if (isLarderError(error, 'LARDER_TIMEOUT')) throw failed(doing, `it did not end within ${timeoutMs / 1000} s`);
    if (isLarderError(error, 'LARDER_ABORTED')) throw error;
    throw failed(doing, systemError('start it', error).message);
  });
  if (status !== 0) {
    if (stdout.trim() === NOT_FOUND) return undefined;
    throw failed(doing, `it ended with ${killer ?? `status ${status}`}`);
  }
  if (stdout.length > MAX_ANSWER_BYTES) throw failed(doing, `it said more than ${MAX_ANSWER_BYTES} bytes`);
  return loginOf(stdout, program, doing);
}

const ANSWER = v.object({ ServerURL: v.nullish(v.string(), ''), Username: v.string(), Secret: v.string() });

function loginOf(stdout: string, source: string, doing: string): Login | undefined {
  let answer: v.InferOutput<typeof ANSWER>;
  try {
    const limits = { doing, maxBytes: MAX_ANSWER_BYTES, code: 'LARDER_REGISTRY_UNAUTHENTICATED' } as const;
    answer = assertShape(ANSWER, parseJson(Buffer.from(stdout), limits), doing, limits.code);
  } catch (error) {
    if (!isLarderError(error)) throw error;
    // The parser's error quotes the text, which is a password.
    throw failed(doing, 'its answer is not the JSON of a credential helper');
  }
  const { Username: username, Secret: secret } = answer;
  if (secret === '') return undefined;
  if (username === '<token>') return { kind: 'identity', token: secret, source };
  if (username === '') throw failed(doing, 'its answer has no user name');
  return { kind: 'password', username, password: secret, source };
}

function passedOn(env: NodeJS.ProcessEnv): Record<string, string> {
  const pairs = Object.entries(env).flatMap(([name, value]) =>
    value === undefined || NOT_PASSED_ON.test(name) ? [] : [[name, value] as const],
  );
  return Object.fromEntries(pairs);
}

function failed(doing: string, why: string): LarderError {
  return new LarderError('LARDER_REGISTRY_UNAUTHENTICATED', `${doing}: ${why}`, {
    hint: 'see credHelpers and credsStore in the configuration, and run the program by hand',
  });
}
