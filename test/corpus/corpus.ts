/**
 * ▸ Runs the corpus: every case into one store in one process, and what becomes of it: the code that refuses it, or its
 * tree through every backend. After each case the canary is looked at, and nothing of the case may be left.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isLarderError } from '../../src/errors.js';
import { type Larder, openLarder } from '../../src/larder.js';
import { diffListings, diffTrees, listTree, type TreeLine } from '../../src/testing/tree-digest.js';
import { findingsOf } from '../helpers/docker-store.js';
import { Canary } from './canary.js';
import type { CaseBase, LayerCase } from './case.js';
import { allCases } from './cases.js';
import { wrongFacts } from './facts.js';
import { type Puller, Sources } from './pullers.js';
import { MAX_LAYER_BYTES, MAX_LAYER_ENTRIES } from './streams.js';

const execute = promisify(execFile);

const OTHERS = ['erofs', 'overlay', 'bind'] as const;

export interface CorpusOptions {
  /** Empty, and the caller's; the corpus makes a file system of its own in it. */
  readonly directory: string;
  /** Every case by every puller and every backend, the large ones too; else each by one, and by `copy` and one more. */
  readonly full: boolean;
  /** Whether umoci is here to compare with. */
  readonly umoci: boolean;
  readonly only?: RegExp;
  onOutcome?(outcome: Outcome): void;
}

export interface Outcome {
  readonly id: string;
  readonly what: string;
  readonly puller: string;
  /** `ok`, or the code. */
  readonly got: string;
  /** What is not as it should be. */
  readonly problems: readonly string[];
  readonly ms: number;
}

export interface Report {
  readonly outcomes: readonly Outcome[];
  /** Trees that were compared with umoci's. */
  readonly compared: number;
  readonly maxRssMiB: number;
  /** Of the store and of the canary, when all is over. */
  readonly problems: readonly string[];
}

export async function runCorpus(options: CorpusOptions): Promise<Report> {
  const place = join(options.directory, 'canary');
  mkdirSync(place);
  // Syncing is no part of this, and takes as long as the disk is busy.
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=700', 'tmpfs', place]);
  const canary = new Canary(place, ['store', 'sources', 'umoci']);
  await using sources = await Sources.open(join(place, 'sources'), canary.victim);
  const flags = {
    root: join(place, 'store'),
    max_layer_bytes: MAX_LAYER_BYTES,
    max_layer_entries: MAX_LAYER_ENTRIES,
    appc_simple_discovery_uri_prefix: sources.acis,
  };
  await using larder = await openLarder(flags);
  await using fromDirectory = await openLarder({ ...flags, docker_registry: sources.archives });
  return await new Run(options, canary, sources, (puller) => (puller === 'directory' ? fromDirectory : larder)).run();
}

/** Directories that no entry lists have the time 0 here, elsewhere that of the unpacking. */
const IMPLIED = /: mtime: \d+ and 0$/;

class Run {
  readonly #options: CorpusOptions;
  readonly #canary: Canary;
  readonly #sources: Sources;
  readonly #larderFor: (puller: string) => Larder;
  readonly #outcomes: Outcome[] = [];
  #compared = 0;
  #turn = 0;

  constructor(options: CorpusOptions, canary: Canary, sources: Sources, larderFor: (puller: string) => Larder) {
    this.#options = options;
    this.#canary = canary;
    this.#sources = sources;
    this.#larderFor = larderFor;
  }

  async run(): Promise<Report> {
    const sources = this.#sources;
    for (const one of allCases.layers) {
      for (const [i, puller] of this.#chosen(one, sources.pullersOf(one)).entries()) {
        const publish = () => sources.layers(one, puller);
        await this.#case(one, puller, publish, (reference) => this.#look(one, reference, puller, i === 0));
      }
    }
    for (const one of allCases.documents) {
      for (const puller of this.#chosen(one, ['registry', 'oci', 'oci-archive'] as const)) {
        await this.#case(one, puller, () => sources.documents(one.image(), puller));
      }
    }
    for (const one of allCases.files) {
      const ways: readonly Puller[] =
        one.transport === 'docker-archive' ? ['docker-archive', 'directory'] : [one.transport];
      for (const puller of this.#chosen(one, ways)) await this.#case(one, puller, () => sources.file(one, puller));
    }
    for (const one of allCases.references) {
      for (const puller of this.#chosen(one, ['registry'] as const)) await this.#case(one, puller, () => one.reference);
    }
    return {
      outcomes: this.#outcomes,
      compared: this.#compared,
      maxRssMiB: Math.round(process.resourceUsage().maxRSS / 1024),
      problems: await this.#ending(),
    };
  }

  /** In the short form each case takes its turn. */
  #chosen<P extends string>(one: CaseBase, pullers: readonly P[]): readonly P[] {
    const { full, only } = this.#options;
    if (only?.test(`${one.id} ${one.what}`) === false) return [];
    if (full) return pullers;
    return one.long === true ? [] : pullers.slice(this.#turn++ % pullers.length).slice(0, 1);
  }

  async #case(
    one: CaseBase,
    puller: string,
    publish: () => string,
    look: (reference: string) => Promise<string[]> = async () => [],
  ): Promise<void> {
    const problems: string[] = [];
    const reference = publish();
    const before = performance.now();
    const got = await this.#pull(reference, puller);
    const expected = one.by?.[puller] ?? one.refused ?? 'ok';
    if (got.code !== expected) problems.push(`is ${got.code} instead of ${expected}: ${got.message}`);
    if (got.code === 'ok') problems.push(...(await look(reference)));
    await this.#larderFor(puller).prune();
    problems.push(...this.#left(puller), ...this.#canary.changes());
    const { id, what } = one;
    const outcome = { id, what, puller, got: got.code, problems, ms: Math.round(performance.now() - before) };
    this.#outcomes.push(outcome);
    this.#options.onOutcome?.(outcome);
  }

  async #pull(reference: string, puller: string): Promise<{ code: string; message: string }> {
    try {
      await using _held = await this.#larderFor(puller).pull(reference);
      return { code: 'ok', message: '' };
    } catch (error) {
      if (isLarderError(error)) return { code: error.code, message: error.message };
      throw error;
    }
  }

  /** A legal image through backends, and through umoci; what comes the second time is like the first by what it copies to. */
  async #look(one: LayerCase, reference: string, puller: Puller, first: boolean): Promise<string[]> {
    const larder = this.#larderFor(puller);
    const peers = first ? this.#unpackWithUmoci(one) : undefined;
    const problems: string[] = [];
    const roots: string[] = [];
    const others = first ? this.#others() : [];
    const backends = ['copy', ...others] as const;
    for (const backend of backends) {
      const { rootfs } = await larder.provision(reference, { id: `case-${backend}`, backend, nodev: false });
      roots.push(rootfs);
      problems.push(...wrongFacts(rootfs, one.tree, this.#canary.victim).map((wrong) => `${backend}: ${wrong}`));
    }
    const [copy = '', ...rest] = roots;
    for (const [i, root] of rest.entries()) {
      problems.push(...diffTrees(copy, root).map((line) => `copy and ${others[i]}: ${line}`));
    }
    if (peers !== undefined) problems.push(...this.#compareWithUmoci(one, copy, await peers));
    for (const backend of backends) await larder.destroy(`case-${backend}`);
    return problems;
  }

  #others(): readonly (typeof OTHERS)[number][] {
    return this.#options.full ? OTHERS : OTHERS.slice(this.#turn % OTHERS.length).slice(0, 1);
  }

  /** Its tree, or why there is none. */
  #unpackWithUmoci(one: LayerCase): Promise<readonly TreeLine[] | string> | undefined {
    const { umoci, full } = this.#options;
    if (!umoci || (one.umoci !== undefined && !full)) return undefined;
    this.#compared++;
    const bundle = join(this.#canary.directory, 'umoci', `case${this.#compared}`);
    const image = this.#sources.layout(one);
    return execute('umoci', ['raw', 'unpack', '--image', image, bundle], { timeout: 60_000 })
      .then(() => listTree(bundle))
      .catch((error: { stderr?: string }) => String(error.stderr ?? error).trim())
      .finally(() => rmSync(bundle, { recursive: true, force: true }));
  }

  #compareWithUmoci(one: LayerCase, root: string, theirs: readonly TreeLine[] | string): string[] {
    const differences =
      typeof theirs === 'string'
        ? [theirs]
        : diffListings(theirs, listTree(root)).filter((line) => !IMPLIED.test(line));
    if (one.umoci === undefined) return differences.map((line) => `umoci and larder: ${line}`);
    return differences.length > 0 ? [] : [`umoci makes the same, though it is said that it ${one.umoci}`];
  }

  #left(puller: string): string[] {
    const larder = this.#larderFor(puller);
    return larder.images().map((image) => `is left: ${JSON.stringify(image)}`);
  }

  async #ending(): Promise<string[]> {
    const larder = this.#larderFor('');
    const findings = await findingsOf({ check: () => larder.check({ deep: true }) });
    const left = ['layers/sha256', 'containers', 'mounts', 'staging', 'gc', 'ingest'].flatMap((name) =>
      namesIn(join(larder.root, name)).map((found) => `${name}/${found} is left`),
    );
    return [...findings.map((finding) => JSON.stringify(finding)), ...left, ...this.#canary.changes()];
  }
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}
