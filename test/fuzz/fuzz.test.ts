/** The short form of every target: the same inputs each time, and no coverage to guide them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fuzz } from './fuzz.js';
import { TARGETS } from './targets/all.js';

describe('what reads foreign bytes keeps its promises for mutated', () => {
  for (const [name, open] of TARGETS) {
    it(name, async (context) => {
      const target = await open();
      if (target === undefined) return context.skip('needs what this machine has not');
      try {
        const { runs, verdicts } = await fuzz(target, { seed: 1, runs: target.short.runs });
        assert.equal(runs, target.short.runs);
        for (const verdict of target.short.meets) assert.ok((verdicts[verdict] ?? 0) > 0, `never ${verdict}`);
      } finally {
        await target.close?.();
      }
    });
  }
});
