/** What goes wrong: the exit status, one sentence, and what to do. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { ImageSource, sampleLayer } from '../../src/testing/image-source.js';
import { whileRuns } from '../helpers/child.js';
import { BIN_PATH, CommandHome } from '../helpers/command.js';
import { noiseLayer } from '../helpers/noise.js';

describe('the command, when something is wrong,', () => {
  let source: ImageSource;
  let home: CommandHome;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('demo');
    source.publish('demo', [noiseLayer('noise', 1_000_000), sampleLayer('top')]);
  });
  after(() => source[Symbol.asyncDispose]());
  beforeEach(() => {
    home = new CommandHome();
  });
  afterEach(async () => {
    source.setFault();
    for (const { container } of JSON.parse(await home.ok('containers', '--json'))) await home.ok('destroy', container);
    await home.ok('prune');
    assert.equal(await home.ok('check'), 'clean');
    home.dispose();
  });

  async function fails(
    status: number,
    sentence: RegExp,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<void> {
    const outcome = await home.run(args, { env });
    assert.equal(outcome.status, status, outcome.stderr);
    assert.equal(outcome.stdout, '');
    assert.match(outcome.stderr, sentence);
    assert.doesNotMatch(outcome.stderr, /\n\s+at |undefined|\[object|node:internal/, 'says it as a person would');
  }

  const cases: Record<string, () => readonly [number, RegExp, readonly string[]]> = {
    'an unknown command is named, with the nearest one': () => [
      2,
      /unknown command 'pul'[\s\S]*pull/,
      ['pul', reference],
    ],
    'an unknown option is named': () => [2, /unknown option '--quick'/, ['pull', '--quick', reference]],
    'a missing argument is named': () => [2, /missing required argument 'reference'/, ['pull']],
    'a bad reference is quoted': () => [
      2,
      /^larder: reference: "UPPER\/CASE": .*lower case\n {2}did you mean upper\/case/,
      ['pull', 'UPPER/CASE'],
    ],
    'a bad value of a setting is quoted': () => [
      2,
      /max_parallel_layers.*"none".*whole number/,
      ['--max-parallel-layers', 'none', 'images'],
    ],
    'an image that is not in the registry': () => [
      3,
      /nowhere.*does not have it/,
      ['pull', source.reference('nowhere')],
    ],
    'an image that is not in the store': () => [
      3,
      /^larder: remove .*demo:latest: there is no such image/,
      ['remove', reference],
    ],
    'a path that is not in the image': () => [3, /\/no\/such/, ['cat', reference, '/no/such']],
    'an unreachable registry': () => [
      8,
      /nothing listens on 127\.0\.0\.1:1: connection refused/,
      ['pull', '127.0.0.1:1/a'],
    ],
    'an unknown container': () => [
      3,
      /^larder: destroy ghost: there is no such container\n {2}.larder containers. lists them/,
      ['destroy', 'ghost'],
    ],
    'a bad name of a container': () => [
      2,
      /container id: "\.\.\/x"/,
      ['provision', reference, '--id', '../x', '--backend', 'copy'],
    ],
    'a provision without a name': () => [2, /id/, ['provision', reference]],
    'an unknown backend': () => [
      2,
      /zfs.*\n.*erofs, overlay, copy/,
      ['provision', reference, '--id', 'c', '--backend', 'zfs'],
    ],
  };
  for (const [what, make] of Object.entries(cases)) {
    test(what, async () => {
      const [status, sentence, args] = make();
      await fails(status, sentence, args);
    });
  }

  test('a name that is in use, and an image that is in use', async () => {
    await home.ok('provision', reference, '--id', 'c', '--backend', 'copy');
    await fails(4, /^larder: provision c: there is a container of this name\n {2}.*destroy c/, [
      'provision',
      reference,
      '--id',
      'c',
      '--backend',
      'copy',
    ]);
    await fails(6, /^larder: remove .*: container c uses it\n {2}destroy container c first/, ['remove', reference]);
  });

  test('an unknown LARDER_LOG is refused in one sentence', async () => {
    await fails(2, /^larder: LARDER_LOG: "loud": expected one of error, warn, info, debug/, ['images'], {
      LARDER_LOG: 'loud',
    });
  });

  test('--json gives the error as JSON on stderr', async () => {
    const { status, stdout, stderr } = await home.run(['--json', 'pull', source.reference('nowhere')]);
    assert.equal(status, 3);
    assert.equal(stdout, '');
    const { error } = JSON.parse(stderr);
    assert.equal(error.code, 'LARDER_IMAGE_NOT_FOUND');
    assert.equal(error.kind, 'not-found');
    assert.equal(error.stack, undefined);
  });

  test('--debug shows events and where an error comes from; LARDER_LOG=error nothing but errors', async () => {
    const loud = await home.run(['--debug', 'pull', source.reference('nowhere')]);
    assert.match(loud.stderr, /^debug: \{"type":"resolve"/m);
    assert.match(loud.stderr, /\n\s+at /);
    const quiet = await home.run(['pull', reference], { env: { LARDER_LOG: 'error' } });
    assert.equal(quiet.stderr, '');
    assert.equal(quiet.status, 0);
  });

  test('Ctrl-C during a pull ends it with 130, and the next pull goes on', async () => {
    source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'stall', after: 500_000 } : undefined));
    const before = source.requests('layer').length;
    const pull = home.start(['pull', reference]);
    await whileRuns(pull, () => source.requests('layer').length >= before + 2);
    pull.kill('SIGINT');
    const { status, stderr } = await pull.ended;
    assert.equal(status, 130, stderr);
    assert.match(stderr, /cancelled/);
    assert.doesNotMatch(stderr, /\n\s+at /);
    source.setFault();
    const found = JSON.parse(await home.ok('check', '--json'));
    assert.equal(found.sound, true);
    await home.ok('pull', reference);
  });

  test('a reader that goes away ends the output quietly', async () => {
    await home.ok('pull', reference);
    const shell = `"$1" "$2" --root "$3" cat ${reference} /noise | head -c 1 | wc -c; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', shell, 'sh', process.execPath, BIN_PATH, home.root], {
      encoding: 'utf8',
      env: home.environment(),
    });
    assert.equal(stderr, '');
    assert.match(stdout, /^1\n(?:0|141)\n$/);
  });

  test('bars appear on a terminal, and are gone at the end', { skip: hasScript() }, async () => {
    source.setFault(({ wanted, kind }) => (kind === 'layer' && wanted !== '' ? { kind: 'delay', ms: 300 } : undefined));
    const line = `${process.execPath} ${BIN_PATH} --root ${home.root} pull ${reference}`;
    const child = home.startProgram('script', ['-qec', line, '/dev/null']);
    const { status, stdout } = await child.ended;
    assert.equal(status, 0, stdout);
    assert.match(stdout, /\u001b\[\d+A/, 'redraws in place');
    assert.match(stdout, /\d+ ?%/);
  });
});

function hasScript(): string | false {
  try {
    execFileSync('script', ['--version']);
    return false;
  } catch {
    return 'needs script(1) for a terminal';
  }
}
