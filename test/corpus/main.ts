/**
 * The long form: `node dist/test/corpus/main.js [--short] [--only PATTERN] [--messages]`, as root. Every case by every puller,
 * compared with umoci and containerd where they are installed. Ends with 1 when a case is not as its table says.
 */
import { parseArgs } from 'node:util';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { runCorpus } from './corpus.js';

const { values } = parseArgs({
  options: { short: { type: 'boolean' }, only: { type: 'string' }, messages: { type: 'boolean' } },
});
const directory = makeDirectory();
try {
  const started = performance.now();
  const { outcomes, compared, maxRssMiB, problems } = await runCorpus({
    directory,
    full: values.short !== true,
    ...(values.only === undefined ? {} : { only: new RegExp(values.only) }),
    onOutcome: ({ id, what, puller, message, problems: wrong }) => {
      if (values.messages && message !== '') console.log(`${id} ${what} (${puller}) is refused: ${message}`);
      for (const line of wrong) console.log(`${id} ${what} (${puller}): ${line}`);
    },
  });
  for (const line of problems) console.log(`at the end: ${line}`);
  const bad = outcomes.filter((outcome) => outcome.problems.length > 0).length;
  const slowest = outcomes.reduce((a, b) => (b.ms > a.ms ? b : a), outcomes[0] ?? { id: '', what: '', ms: 0 });
  const cases = new Set(outcomes.map(({ id, what }) => `${id} ${what}`)).size;
  const refused = outcomes.filter(({ got }) => got !== 'ok').length;
  console.log(`${cases} cases, ${outcomes.length} pulls (${refused} refused), ${bad} not as they should be`);
  for (const peer of ['umoci', 'containerd'] as const) {
    console.log(
      `${compared[peer] ?? 'no'} cases compared with ${peer}${peer in compared ? '' : ': it is not installed'}`,
    );
  }
  console.log(
    `${((performance.now() - started) / 1000).toFixed(1)} s, at most ${maxRssMiB} MiB; slowest: ${slowest.id} ${slowest.what}: ${slowest.ms} ms`,
  );
  if (bad + problems.length > 0 || outcomes.length === 0) process.exitCode = 1;
} finally {
  removeDirectory(directory);
}
