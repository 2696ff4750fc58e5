import type { Register } from '../../src/testing/conformance/register.js';

/** Runs the cases of a suite without reporting them, and answers those that fail. */
export async function failuresOf(suite: (register: Register) => void): Promise<string[]> {
  const cases: { readonly name: string; readonly body: () => Promise<void> }[] = [];
  suite((name, options, body) => {
    if (options.skip === undefined || options.skip === false) cases.push({ name, body });
  });
  const failures: string[] = [];
  for (const { name, body } of cases) {
    try {
      await body();
    } catch {
      failures.push(name);
    }
  }
  return failures;
}
