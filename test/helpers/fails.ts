import type { Register } from '../../src/testing/conformance/register.js';

/** The cases of a suite that fail, of those whose names match; nothing is reported. */
export async function failuresOf(suite: (register: Register) => void, cases: RegExp): Promise<string[]> {
  const bodies: (() => Promise<string | undefined>)[] = [];
  suite((name, _, body) => {
    if (!cases.test(name)) return;
    bodies.push(async () => {
      try {
        await body();
        return undefined;
      } catch {
        return name;
      }
    });
  });
  if (bodies.length === 0) throw new Error(`no case is called ${cases.source}`);
  const failures: string[] = [];
  for (const body of bodies) {
    const failure = await body();
    if (failure !== undefined) failures.push(failure);
  }
  return failures;
}
