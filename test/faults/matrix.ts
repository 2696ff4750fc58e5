/**
 * Many pulls into one store, each from a registry of its own that goes wrong at one place: what becomes of each, and
 * everything that must hold whatever that is.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isLarderError } from '../../src/errors.js';
import { type Larder, openLarder } from '../../src/larder.js';
import type { RegistryRequest } from '../../src/testing/fake-registry.js';
import { type FaultPlace, FaultRegistry } from '../../src/testing/fault-registry.js';
import { FAULTS, type Fault, type FaultName } from '../../src/testing/faults.js';
import { type BuiltImage, buildImage } from '../../src/testing/image-builder.js';
import { sampleLayer } from '../../src/testing/image-source.js';
import type { OtherHosts } from '../../src/testing/other-hosts.js';

export interface Surroundings {
  /** An empty directory. */
  readonly directory: string;
  readonly hosts: OtherHosts;
  readonly caFile: string;
}

/** What goes wrong. */
export interface Wrong {
  readonly name: FaultName;
  readonly place: FaultPlace;
}

export interface Outcome extends Wrong {
  /** `ok`, `+N` where it took so many more requests than where nothing goes wrong, or a code without its prefix. */
  readonly outcome: string;
}

interface Case extends Wrong {
  readonly faulty: FaultRegistry;
  /** Where it goes wrong at a mirror: the registry itself, which is well. */
  readonly origin: FaultRegistry | undefined;
}

/** At a time: most of them wait. */
const AT_ONCE = 64;
/** Probe, first refusal, token, manifest, config and two layers. */
const REQUESTS = 7;
/** Where nothing comes it is waited for; elsewhere a slow machine is none that is silent. */
const STALL = { silent: '3secs', others: '60secs' } as const;

/** Pulls while it goes wrong, and again when it does not any more. */
export async function pullAll(wrong: readonly Wrong[], around: Surroundings, atMirror: boolean): Promise<Outcome[]> {
  const cases = await Promise.all(wrong.map((one, i) => start(one, i, around.hosts, atMirror)));
  const registries = cases.flatMap(({ faulty, origin }) => (origin === undefined ? [faulty] : [faulty, origin]));
  try {
    await using store = await TestStore.open(around, registries, cases);
    const outcomes: Outcome[] = [];
    const counted = new Map<Case, number>();
    await inTurns(cases, async (one) => {
      outcomes.push({ name: one.name, place: one.place, outcome: await store.outcomeOf(one, counted) });
    });
    await store.assertSound(registries);
    const kept = store.kept();
    for (const { faulty } of cases) faulty.disarm();
    await inTurns(cases, async (one) => {
      assert.equal(await store.pull(one), 'ok', `${titleOf(one)}: a pull when all is well again`);
    });
    for (const one of cases) assertNothingTwice(one, counted.get(one) ?? 0, kept);
    await store.assertSound(registries);
    assert.deepEqual(store.leftovers(), []);
    return outcomes;
  } finally {
    await Promise.all(registries.map((registry) => registry[Symbol.asyncDispose]()));
  }
}

/** Of two layers that no other image has. */
export function imageOf(name: string): BuiltImage {
  const layers = [sampleLayer(`first ${name}`, 20_000), sampleLayer(`last ${name}`, 20_000)];
  return buildImage({ layers: layers.map((tar) => ({ tar })) });
}

/** Each with an address of its own: what went wrong at a host is remembered for as long as the process lives. */
let addresses = 0;
async function start({ name, place }: Wrong, i: number, hosts: OtherHosts, atMirror: boolean): Promise<Case> {
  const image = imageOf(`${atMirror} ${i}`);
  const next = async (): Promise<FaultRegistry> => {
    addresses++;
    return FaultRegistry.start({ hosts, image, address: `127.77.${addresses >> 8}.${addresses & 255}` });
  };
  const faulty = await next();
  faulty.arm(name, place);
  return { name, place, faulty, origin: atMirror ? await next() : undefined };
}

async function inTurns(cases: readonly Case[], work: (one: Case) => Promise<void>): Promise<void> {
  const left = [...cases];
  const worker = async (): Promise<void> => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

class TestStore implements AsyncDisposable {
  readonly #larder: Larder;
  /** Everything that was said: events and errors. */
  readonly #said: string[] = [];

  private constructor(larder: Larder) {
    this.#larder = larder;
  }

  static async open(
    { directory, caFile }: Surroundings,
    registries: readonly FaultRegistry[],
    cases: readonly Case[],
  ): Promise<TestStore> {
    mkdirSync(directory, { recursive: true });
    const rules = join(directory, 'registries.conf');
    writeFileSync(rules, cases.map(rulesOf).join(''));
    const silent = cases.some(({ name }) => (FAULTS[name] as Fault).silent === true);
    const larder = await openLarder({
      root: join(directory, 'store'),
      docker_config: { auths: Object.assign({}, ...registries.map(({ login }) => login.auths)) },
      registry_ca_files: [caFile],
      registries_conf: rules,
      registry_certs_dir: 'none',
      max_parallel_layers: 12,
      fetcher_stall_timeout: STALL[silent ? 'silent' : 'others'],
    });
    return new TestStore(larder);
  }

  async outcomeOf(one: Case, counted: Map<Case, number>): Promise<string> {
    const outcome = await this.pull(one);
    const { length } = one.faulty.registry.requests;
    counted.set(one, length);
    return outcome !== 'ok' || length <= REQUESTS || one.origin !== undefined ? outcome : `+${length - REQUESTS}`;
  }

  async pull({ faulty, origin = faulty, ...one }: Case): Promise<string> {
    try {
      await using _image = await this.#larder.pull(origin.reference, {
        onEvent: (event) => void this.#said.push(JSON.stringify(event)),
      });
      return 'ok';
    } catch (error) {
      if (!isLarderError(error)) throw error;
      assert.notEqual(error.kind, 'internal', `${one.name} at ${one.place}: ${error.message}`);
      this.#said.push(wordsOf(error));
      return error.code.replace(/^LARDER_/, '');
    }
  }

  /** No finding, no secret where anybody reads, no credential where it has no business. */
  async assertSound(registries: readonly FaultRegistry[]): Promise<void> {
    for await (const { message, subject } of this.#larder.check()) {
      assert.match(message, /^\d+ bytes are kept for a resume$/, subject);
    }
    for (const registry of registries) assert.deepEqual(registry.strayCredentials(), []);
    for (const secret of registries.flatMap(({ secrets }) => secrets)) assert.match(secret, SECRET);
    for (const text of this.#said) assertNoSecret(text, `what is said: ${text}`);
    for (const path of filesBelow(this.#larder.root)) assertNoSecret(readFileSync(path, 'latin1'), path);
    assertEachItsOwn(registries);
  }

  /** What is here: layers by DiffID, and how much of what was begun, by `algorithm-hex`. */
  kept(): Kept {
    const { root } = this.#larder;
    const parts = filesBelow(join(root, 'ingest')).flatMap((path) => {
      const [, name] = /\/([^/]+)\/data$/.exec(path) ?? [];
      return name === undefined ? [] : [[name, statSync(path).size] as const];
    });
    return { layers: new Set(readdirSync(join(root, 'layers', 'sha256'))), parts: new Map(parts) };
  }

  /** What only a pull under way, or one that failed, may leave. */
  leftovers(): readonly string[] {
    const places = ['ingest', 'staging', 'gc'].map((name) => join(this.#larder.root, name));
    return places.flatMap(filesBelow).filter((path) => !path.endsWith('lock'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#larder.close();
  }
}

interface Kept {
  readonly layers: ReadonlySet<string>;
  readonly parts: ReadonlyMap<string, number>;
}

/** Of a layer that is here nothing is asked for again; of one that is here in part only what follows. */
function assertNothingTwice(one: Case, before: number, { layers, parts }: Kept): void {
  const { image, registry } = one.faulty;
  const requests = [...registry.requests.slice(before), ...(one.origin?.registry.requests ?? [])];
  const rangesOf = (digest: string): unknown[] =>
    requests.filter(({ url }) => url.includes(digest)).map(({ headers }) => headers.range);
  for (const { digest, diffId, blob } of image.layers) {
    if (layers.has(diffId.replace('sha256:', ''))) {
      if (one.origin === undefined) assert.deepEqual(rangesOf(digest), [], `${titleOf(one)}: a layer that is here`);
      continue;
    }
    const size = parts.get(digest.replace(':', '-')) ?? 0;
    const expected = size === blob.length ? [] : [size === 0 ? undefined : `bytes=${size}-`];
    assert.deepEqual(rangesOf(digest), expected, `${titleOf(one)}: a layer that is here in part`);
  }
}

/** All secrets look alike, so that one look at a text finds every one. */
const SECRET = /\b(?:pass|sig)-[0-9a-f]{24}|\bt-[0-9a-f]{24}|c29tZWJvZHk6cGFzcy/;

function assertNoSecret(text: string, where: string): void {
  const [found] = SECRET.exec(text) ?? [];
  assert.equal(found, undefined, `a secret in ${where}`);
}

/** No registry is sent what belongs to another one. */
function assertEachItsOwn(registries: readonly FaultRegistry[]): void {
  for (const one of registries) {
    const own = new Set(one.credentials.flatMap((secret) => [`Bearer ${secret}`, `Basic ${secret}`]));
    const strange = one.registry.requests.filter(isStrange(own));
    assert.deepEqual(strange, [], 'a login of somebody else');
  }
}

function isStrange(own: ReadonlySet<string>): (request: RegistryRequest) => boolean {
  return ({ headers: { authorization, cookie } }) =>
    cookie !== undefined || (authorization !== undefined && !own.has(authorization));
}

function rulesOf({ faulty, origin }: Case): string {
  if (origin === undefined) return '';
  const { host } = origin.registry;
  const entry = `[[registry]]\nprefix = "${host}"\nlocation = "${host}"\n`;
  return `${entry}[[registry.mirror]]\nlocation = "${faulty.registry.host}"\n`;
}

function titleOf({ name, place }: Wrong): string {
  return `${name} at ${place}`;
}

/** With everything that a log would have. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { hint, details } = error as { hint?: unknown; details?: unknown };
  const more = JSON.stringify({ hint, details });
  return `${error.stack} ${more}\n${error.cause === undefined ? '' : wordsOf(error.cause)}`;
}

function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
