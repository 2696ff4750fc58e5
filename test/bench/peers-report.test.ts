/** The comparison's tables: who is the best peer, which target is met, what failed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { toMarkdown } from '../../bench/peers-report.js';
import { figuresOf, type Measurement, type PeersResult } from '../../bench/peers-result.js';

const IMAGE = 'node-like:latest';

function measured(tool: string, times: readonly number[], cpuMs = 1000): Measurement[] {
  const rest = { image: IMAGE, step: 'cold', syncMs: 50, userMs: cpuMs, systemMs: 0, peakBytes: 1e8 } as const;
  return times.map((ms, run) => ({ tool, run, ms, ...rest, writtenBytes: 1e9, load: 0 }));
}

function resultOf(measurements: readonly Measurement[], failures: readonly string[] = []): PeersResult {
  const tools = [...new Set(measurements.map(({ tool }) => tool))];
  const images = [{ name: IMAGE, size: 250e6, uncompressed: 1e9, layers: 7 }];
  return {
    bench: 'peers',
    when: '2026-01-01T00:00:00Z',
    machine: { kernel: '6.18', cpu: 'one', cores: 2, memoryGiB: 8, node: 'v20', fileSystem: 'ext4' },
    figures: figuresOf({ images, tools, measurements }),
    versions: Object.fromEntries(tools.map((tool) => [tool, '1.0'])),
    ...{ images, tools, measurements, failures },
  };
}

/** The cells of the row against the best peer. */
function againstBest(result: PeersResult, tool: string): string[] {
  const row = toMarkdown(result)
    .split('\n')
    .find((line) => line.startsWith(`| ${IMAGE} | ${tool} |`));
  return (row ?? '').split('|').map((cell) => cell.trim());
}

describe('the table against the best peer', () => {
  test('takes the peer with the least median, and ratios of each turn', () => {
    const result = resultOf([
      ...measured('larder', [2000, 2000, 4000]),
      ...measured('podman', [18_000, 19_000, 20_000]),
      ...measured('ctr', [12_000, 11_000, 10_000]),
    ]);
    const cells = againstBest(result, 'larder');
    assert.equal(cells[4], 'ctr 11.0 s');
    assert.equal(cells[5], '**5.5× (2.5× to 6.0×)**');
    assert.equal(cells[6], '5×: met');
  });

  test('says so when a target is missed', () => {
    const result = resultOf([...measured('larder', [4000], 1000), ...measured('ctr', [12_000], 1500)]);
    assert.equal(againstBest(result, 'larder')[6], '5×: missed');
    assert.equal(againstBest(result, 'larder')[7], '1.00');
    assert.equal(againstBest(result, 'larder')[10], '0.5×: missed');
  });

  test('is not there without a peer', () => {
    assert.doesNotMatch(toMarkdown(resultOf(measured('larder', [4000]))), /best peer/);
  });
});

test('failures are listed', () => {
  const text = toMarkdown(resultOf(measured('larder', [1]), ['podman, node-like:latest, run 0: exit 125']));
  assert.match(text, /### Failed\n\n- podman, node-like:latest, run 0: exit 125\n/);
});

test('a round that failed is missing from its program’s figures alone', () => {
  const figures = figuresOf(resultOf([...measured('larder', [1, 2, 3]), ...measured('ctr', [4])]));
  assert.deepEqual(
    figures.filter(({ name }) => name.startsWith('cold/')).map(({ name, n }) => [name, n]),
    [
      [`cold/${IMAGE}/larder`, 3],
      [`cold/${IMAGE}/ctr`, 1],
    ],
  );
});

test('larder’s figures refer to each peer’s, and peers’ to nothing', () => {
  const figures = figuresOf(
    resultOf([...measured('larder', [1]), ...measured('ctr', [2]), ...measured('podman', [3])]),
  );
  const cold = new Map(figures.map(({ name, references }) => [name, references]));
  assert.deepEqual(cold.get(`cold-cpu/${IMAGE}/larder`), [`cold-cpu/${IMAGE}/ctr`, `cold-cpu/${IMAGE}/podman`]);
  assert.deepEqual(cold.get(`cold-cpu/${IMAGE}/ctr`), []);
});
