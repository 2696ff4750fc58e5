/**
 * Every fault of `FAULTS` ends as docs/faults.md says, and nothing leaks, is lost or is fetched twice meanwhile. All of
 * the table with LARDER_FAULTS=all; else each row at some of the places.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ERROR_TABLE } from '../../src/errors.js';
import { FAULT_PLACES, type FaultPlace } from '../../src/testing/fault-registry.js';
import { FAULTS, type Fault, type FaultName } from '../../src/testing/faults.js';
import { OtherHosts, type ServerCertificate } from '../../src/testing/other-hosts.js';
import { CHECKOUT } from '../checkout.js';
import { Authority, type Pair } from '../helpers/certificates.js';
import { removeDirectory } from '../helpers/temporary.js';
import { type Outcome, pullAll, type Surroundings, type Wrong } from './matrix.js';

const NAMES = Object.keys(FAULTS) as FaultName[];
const ALL = process.env['LARDER_FAULTS'] === 'all';

/** One that never ends is a failure like others, and holds no run. */
const MAX_MS = 300_000;

interface Row {
  readonly what: string;
  /** Of the token, the manifest, the config and a layer. */
  readonly outcomes: readonly string[];
}

function documented(): Map<string, Row> {
  const rows = new Map<string, Row>();
  for (const line of readFileSync(join(CHECKOUT, 'docs', 'faults.md'), 'utf8').split('\n')) {
    const [, name, what, cells] =
      /^\| `([a-z0-9.-]+)` \| (.+?) \| (`(?:ok|\+\d|[A-Z_]+)`(?: \| `[^`]+`){3}) \|$/.exec(line) ?? [];
    if (name === undefined || what === undefined || cells === undefined) continue;
    assert.ok(!rows.has(name), `${name} is documented twice`);
    rows.set(name, { what, outcomes: cells.split(' | ').map((cell) => cell.replaceAll('`', '')) });
  }
  return rows;
}

const ROWS = documented();

/** So many of the places of each fault, others for each, so that every place has its share of every kind. */
function some(count: number): Wrong[] {
  return NAMES.flatMap((name, i) =>
    FAULT_PLACES.filter((_, j) => (i + 2 * j) % FAULT_PLACES.length < count).map((place) => ({ name, place })),
  );
}

const isSilent = ({ name }: Wrong): boolean => (FAULTS[name] as Fault).silent === true;

test('docs/faults.md has every fault with what it is, each outcome a code that there is', () => {
  assert.deepEqual(
    Object.fromEntries([...ROWS].map(([name, { what }]) => [name, what])),
    Object.fromEntries(NAMES.map((name) => [name, FAULTS[name].what])),
  );
  for (const [name, { outcomes }] of ROWS)
    for (const outcome of outcomes)
      if (!/^ok$|^\+/.test(outcome)) assert.ok(Object.hasOwn(ERROR_TABLE, `LARDER_${outcome}`), `${name}: ${outcome}`);
});

describe('pulls from registries that fail', () => {
  // What is proven here does not need the disk, which others may use at the same time.
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'larder-test-'));
  let around: Omit<Surroundings, 'directory'> & { readonly hosts: OtherHosts };

  before(async () => {
    const authority = Authority.make(directory);
    mkdirSync(join(directory, 'other'));
    const other = Authority.make(join(directory, 'other'));
    const pem = ({ certFile, keyFile }: Pair): ServerCertificate => ({
      cert: authority.read(certFile),
      key: authority.read(keyFile),
    });
    const names = ['DNS:localhost'];
    const certificates = {
      good: pem(authority.issue('good', names)),
      expired: pem(authority.issue('expired', names, -1)),
      unknown: pem(other.issue('unknown', names)),
    };
    around = { hosts: await OtherHosts.start({ certificates }), caFile: authority.caFile };
  });

  after(async () => {
    await around?.hosts[Symbol.asyncDispose]();
    removeDirectory(directory);
  });

  async function outcomesOf(name: string, wrong: readonly Wrong[], atMirror: boolean): Promise<Outcome[]> {
    const at = (part: string): Surroundings => ({ ...around, directory: join(directory, `${name}-${part}`) });
    const [silent, others] = await Promise.all([
      pullAll(wrong.filter(isSilent), at('silent'), atMirror),
      pullAll(
        wrong.filter((one) => !isSilent(one)),
        at('others'),
        atMirror,
      ),
    ]);
    assert.equal(silent.length + others.length, wrong.length);
    return [...silent, ...others];
  }

  test('each ends as it is documented', { timeout: MAX_MS }, async () => {
    const outcomes = await outcomesOf('registry', some(ALL ? FAULT_PLACES.length : 2), false);
    const wrong = outcomes.filter((one) => !isAs(one.outcome, expectedOf(one)));
    assert.deepEqual(
      wrong.map((one) => ({ ...one, documented: expectedOf(one) })),
      [],
    );
  });

  test('each at a mirror is made up for by the registry', { timeout: MAX_MS }, async () => {
    const outcomes = await outcomesOf('mirror', some(ALL ? FAULT_PLACES.length : 1), true);
    assert.deepEqual(
      outcomes.filter(({ outcome }) => outcome !== 'ok'),
      [],
    );
  });
});

function expectedOf({ name, place }: Wrong): string {
  const column: Record<FaultPlace, number> = { token: 0, manifest: 1, config: 2, 'first-layer': 3, 'last-layer': 3 };
  return ROWS.get(name)?.outcomes[column[place]] ?? 'not documented';
}

/** So many requests more are documented, or fewer. */
function isAs(outcome: string, expected: string): boolean {
  if (!/^ok$|^\+/.test(expected)) return outcome === expected;
  return /^ok$|^\+/.test(outcome) && Number(outcome.replace('ok', '0')) <= Number(expected.replace('ok', '0'));
}
