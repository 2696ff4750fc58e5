/**
 * ▸ Runs the corpus: every case into one store in one process, and what becomes of it: the code that refuses it, or its
 * tree through every backend. After each case the canary is looked at, and nothing of the case may be left.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isLarderError } from '../../src/errors.js';
import { type Larder, openLarder } from '../../src/larder.js';
import { diffTrees } from '../../src/testing/tree-digest.js';
import { findingsOf } from '../helpers/docker-store.js';
import { Canary } from './canary.js';
import type { CaseBase, LayerCase } from './case.js';
import { allCases } from './cases.js';
import { unexplained } from './explained.js';
import { wrongFacts } from './facts.js';
import { comparePeer, openPeers, type Peer, type PeerName } from './peers.js';
import { type Puller, Sources } from './pullers.js';
import { MAX_LAYER_BYTES, MAX_LAYER_ENTRIES } from './streams.js';

const OTHERS = ['erofs', 'overlay', 'bind'] as const;

export interface CorpusOptions {
  /** Empty, and the caller's; the corpus makes a file system of its own in it. */
  readonly directory: string;
  /** Every case by every puller and every backend, the large ones too; else each by one, and by `copy` and one more. */
  readonly full: boolean;
  readonly only?: RegExp;
  onOutcome?(outcome: Outcome): void;
}

export interface Outcome {
  readonly id: string;
  readonly what: string;
  readonly puller: string;
  /** `ok`, or the code. */
  readonly got: string;
  /** Of what was refused. */
  readonly message: string;
  /** What is not as it should be. */
  readonly problems: readonly string[];
  readonly ms: number;
}

export interface Report {
  readonly outcomes: readonly Outcome[];
  /** For each peer that is installed, the cases that were compared with it. */
  readonly compared: Readonly<Partial<Record<PeerName, number>>>;
  readonly maxRssMiB: number;
  /** Of the store and of the canary, when all is over. */
  readonly problems: readonly string[];
}

export async function runCorpus(options: CorpusOptions): Promise<Report> {
  const place = join(options.directory, 'canary');
  mkdirSync(place);
  // Syncing is no part of this, and takes as long as the disk is busy.
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=700', 'tmpfs', place]);
  const canary = new Canary(place, ['store', 'sources', 'umoci', 'containerd']);
  await using sources = await Sources.open(join(place, 'sources'), canary.victim);
  const flags = {
    root: join(place, 'store'),
    max_layer_bytes: MAX_LAYER_BYTES,
    max_layer_entries: MAX_LAYER_ENTRIES,
    appc_simple_discovery_uri_prefix: sources.acis,
  };
  await using larder = await openLarder(flags);
  await using fromDirectory = await openLarder({ ...flags, docker_registry: sources.archives });
  const peers = await openPeers(place);
  try {
    const larderFor = (puller: string) => (puller === 'directory' ? fromDirectory : larder);
    return await new Run(options, canary, sources, larderFor, peers).run();
  } finally {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
  }
}

/** In the short form, of how many cases containerd is shown one: each takes it a tenth of a second. */
const CONTAINERD_TURNS = 10;

/** What is done with what was pulled, and with what was refused. */
interface Further {
  look?(reference: string): Promise<string[]>;
  refused?(): Promise<string[]>;
}

class Run {
  readonly #options: CorpusOptions;
  readonly #canary: Canary;
  readonly #sources: Sources;
  readonly #larderFor: (puller: string) => Larder;
  readonly #peers: readonly Peer[];
  readonly #outcomes: Outcome[] = [];
  readonly #compared: Partial<Record<PeerName, number>> = {};
  #turn = 0;

  constructor(
    options: CorpusOptions,
    canary: Canary,
    sources: Sources,
    larderFor: (puller: string) => Larder,
    peers: readonly Peer[],
  ) {
    this.#options = options;
    this.#canary = canary;
    this.#sources = sources;
    this.#larderFor = larderFor;
    this.#peers = peers;
    for (const { name } of peers) this.#compared[name] = 0;
  }

  async run(): Promise<Report> {
    const sources = this.#sources;
    for (const one of allCases.layers) {
      for (const [i, puller] of this.#chosen(one, sources.pullersOf(one)).entries()) {
        const publish = () => sources.layers(one, puller);
        const look = (reference: string) => this.#look(one, reference, puller, i === 0);
        await this.#case(one, puller, publish, i === 0 ? { look, refused: () => this.#lookAtPeers(one) } : { look });
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

  async #case(one: CaseBase, puller: string, publish: () => string, further: Further = {}): Promise<void> {
    const problems: string[] = [];
    const reference = publish();
    const before = performance.now();
    const got = await this.#pull(reference, puller);
    const expected = one.by?.[puller] ?? one.refused ?? 'ok';
    if (got.code !== expected) problems.push(`is ${got.code} instead of ${expected}: ${got.message}`);
    if (got.code !== 'ok') problems.push(...unexplained(got.code, got.message));
    const look = got.code === 'ok' ? further.look : further.refused;
    problems.push(...((await look?.(reference)) ?? []));
    await this.#larderFor(puller).prune();
    problems.push(...this.#left(puller), ...this.#canary.changes());
    const { id, what } = one;
    const { code, message } = got;
    const outcome = { id, what, puller, got: code, message, problems, ms: Math.round(performance.now() - before) };
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

  /** A legal image through backends, and through peers; what comes the second time is like the first by what it copies to. */
  async #look(one: LayerCase, reference: string, puller: Puller, first: boolean): Promise<string[]> {
    const larder = this.#larderFor(puller);
    const compare = first ? this.#startPeers(one) : undefined;
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
    if (compare !== undefined) problems.push(...(await compare(copy)));
    for (const backend of backends) await larder.destroy(`case-${backend}`);
    return problems;
  }

  #others(): readonly (typeof OTHERS)[number][] {
    return this.#options.full ? OTHERS : OTHERS.slice(this.#turn % OTHERS.length).slice(0, 1);
  }

  /** What of a refused image the peers make: in the long form, since it is neither promised nor asked for. */
  async #lookAtPeers(one: LayerCase): Promise<string[]> {
    return this.#options.full ? await this.#startPeers(one)(undefined) : [];
  }

  /** They work while larder does. Answers what is not as the case says of them, given larder's tree. */
  #startPeers(one: LayerCase): (ours: string | undefined) => Promise<string[]> {
    const peers = this.#peers.filter(({ name }) => this.#comes(one, name));
    const trees = peers.map((peer) => peer.unpack(one, this.#sources));
    for (const { name } of peers) this.#compared[name] = (this.#compared[name] ?? 0) + 1;
    return async (ours) => {
      const made = await Promise.all(trees);
      return peers.flatMap(({ name }, i) => comparePeer(name, one, ours, made[i] ?? ''));
    };
  }

  #comes(one: LayerCase, peer: PeerName): boolean {
    if (this.#options.full) return true;
    return one[peer] === undefined && (peer !== 'containerd' || this.#turn % CONTAINERD_TURNS === 0);
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
