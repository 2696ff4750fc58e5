/** How a suite hands over its cases: `test` of node:test, or a collector where a suite itself is under test. */
export type Register = (
  name: string,
  options: { readonly skip?: string | false },
  body: () => Promise<void>,
) => unknown;
