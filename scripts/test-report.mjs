/** What a person needs to read of a test run: one line for each file, each failure whole, skips by reason, the sums. */
import { relative } from 'node:path';
import { inspect } from 'node:util';

const CLOSING = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /;

export class TestReport {
  #root;
  #requireAll;
  #write;
  #file = { name: undefined, passed: 0, failed: 0, skipped: 0, ms: 0 };
  #failures = [];
  /** Reason -> names. */
  #skips = new Map();
  #closing = [];

  constructor({ root, requireAll, write = (text) => process.stdout.write(text) }) {
    this.#root = root;
    this.#requireAll = requireAll;
    this.#write = write;
  }

  /** One event of node:test's stream. */
  take({ type, data }) {
    if (type === 'test:pass' || type === 'test:fail') this.#result(type === 'test:pass', data);
    else if (type === 'test:diagnostic') this.#diagnostic(data);
    else if (type === 'test:stdout' || type === 'test:stderr') this.#write(data.message);
  }

  /** Prints the rest; answers the exit status. */
  finish() {
    this.#endFile();
    for (const failure of this.#failures) this.#write(failure);
    let skipped = 0;
    for (const [reason, names] of [...this.#skips].sort((a, b) => b[1].length - a[1].length)) {
      skipped += names.length;
      this.#write(`\nskipped ${names.length}: ${reason}\n${shown(names)}`);
    }
    if (skipped > 0 && this.#requireAll) {
      this.#write(`\n${skipped} skipped: LARDER_TEST_REQUIRE_ALL=1 makes that a failure\n`);
    }
    this.#write(`\n${this.#closing.map((line) => `# ${line}\n`).join('')}`);
    const ran = this.#closing.some((line) => /^pass [1-9]/.test(line));
    return this.#failures.length > 0 || !ran || (skipped > 0 && this.#requireAll) ? 1 : 0;
  }

  #result(passed, data) {
    const name = data.file === undefined ? '(no file)' : relative(this.#root, data.file);
    if (name !== this.#file.name) {
      this.#endFile();
      this.#file = { name, passed: 0, failed: 0, skipped: 0, ms: 0 };
    }
    if (data.nesting === 0) this.#file.ms += data.details.duration_ms;
    if (data.skip !== undefined && data.skip !== false) return this.#skip(name, data);
    if (!passed && data.todo === undefined) return this.#fail(name, data);
    if (data.details.type !== 'suite') this.#file.passed++;
  }

  #skip(file, { skip, name }) {
    const reason = typeof skip === 'string' && skip !== '' ? skip : 'no reason given';
    this.#skips.set(reason, [...(this.#skips.get(reason) ?? []), `${file}: ${name}`]);
    this.#file.skipped++;
  }

  #fail(file, { name, details, line }) {
    const error = details.error;
    if (details.type === 'suite' && error?.failureType === 'subtestsFailed') return;
    this.#file.failed++;
    const cause = error?.failureType === 'testCodeFailure' ? (error.cause ?? error) : error;
    const text = (cause instanceof Error ? inspect(cause, { depth: 4 }) : String(cause)).replace(
      /^ +at .*node:internal.*\n/gm,
      '',
    );
    this.#failures.push(`\n✖ ${file}:${line ?? '?'}: ${name}\n${text.replace(/^/gm, '    ')}\n`);
  }

  #diagnostic({ message, nesting }) {
    if (nesting === 0 && CLOSING.test(message)) this.#closing.push(message);
    else this.#write(`    ${message}\n`);
  }

  #endFile() {
    const { name, passed, failed, skipped, ms } = this.#file;
    if (name === undefined) return;
    const counts = [
      `${passed} passed`,
      ...(failed > 0 ? [`${failed} FAILED`] : []),
      ...(skipped > 0 ? [`${skipped} skipped`] : []),
    ];
    this.#write(`${failed > 0 ? '✖' : '✔'} ${name}: ${counts.join(', ')} (${(ms / 1000).toFixed(1)} s)\n`);
  }
}

function shown(names) {
  const rest = names.length - 5;
  return `${names
    .slice(0, 5)
    .map((name) => `    ${name}\n`)
    .join('')}${rest > 0 ? `    … and ${rest} more\n` : ''}`;
}
